"""The SHA-256 of files, which may be larger than the memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import BinaryIO

_CHUNK_BYTES = 2**20


def file_sha256(path: str | os.PathLike[str]) -> str:
    """The hexadecimal SHA-256 of the file at ``path``. Raises ``OSError`` if it cannot be read."""
    with open(path, "rb", buffering=0) as file:
        return stream_sha256(file, lambda count: None)


def stream_sha256(file: BinaryIO, on_bytes: Callable[[int], None]) -> str:
    """That of the rest of an open file; ``on_bytes`` hears the size of each chunk read."""
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
        on_bytes(len(chunk))
    return digest.hexdigest()
