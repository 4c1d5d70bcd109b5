"""How large the pictures in a Windows icon are. Its directory does not bind them, and Pillow decodes as it opens."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

_MAGIC = b"\0\0\1\0"
_PNG = b"\x89PNG\r\n\x1a\n"


def sizes(file: IO[bytes]) -> Iterator[tuple[int, int]]:
    """Width and height of each picture in ``file``; of a file that is no icon, none."""
    file.seek(0)
    head = file.read(6)
    count = int.from_bytes(head[4:], "little") if head.startswith(_MAGIC) else 0
    for entry in range(count):
        file.seek(6 + 16 * entry + 12)
        file.seek(int.from_bytes(file.read(4), "little"))
        inside = file.read(24)
        if len(inside) == 24:
            yield struct.unpack(">II", inside[16:]) if inside.startswith(_PNG) else _bitmap(inside)
    file.seek(0)


def _bitmap(header: bytes) -> tuple[int, int]:
    """Of a bitmap that its mask lies below, in the same height."""
    width, height = struct.unpack("<ii", header[4:12])
    return abs(width), abs(height) // 2
