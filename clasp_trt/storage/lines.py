"""Files that are read line by line: each line one JSON object, or a text of its own.

They come from everywhere: a byte-order mark before the first line and blank lines after the last one mean nothing.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from pathlib import Path

from clasp_trt.storage.fields import Field, Format, parse

MAX_LINE_BYTES = 8 * 2**20
"""Longest line that is read: a file without line ends must not fill the memory."""


def lines(path: str | os.PathLike[str], format: Format) -> Iterator[tuple[str, int, bytes]]:
    """Each line with its place, ``file:line``, and its number from 1; not the blank ones at the end.

    Raises ``format.syntax`` if the file cannot be read, or for a line that is longer than :data:`MAX_LINE_BYTES`.
    """
    name = os.fspath(path)
    try:
        with Path(path).open("rb") as file:
            blank: list[tuple[int, bytes]] = []
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), start=1):
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                if len(line) > MAX_LINE_BYTES:
                    raise format.syntax(f"{name}:{number}: longer than {MAX_LINE_BYTES >> 20} MiB; {format.cure}")
                if not line.strip():
                    blank.append((number, line))
                    continue
                for at, held in (*blank, (number, line)):
                    yield f"{name}:{at}", at, held
                blank.clear()
    except OSError as error:
        raise format.syntax(
            f"{name}: cannot be read ({error.strerror or type(error).__name__}); {format.cure}"
        ) from None


def json_lines(path: str | os.PathLike[str], format: Format, *, exact: bool = False) -> Iterator[tuple[int, Field]]:
    """The JSON value of each line, with the line's number; what :func:`~clasp_trt.storage.fields.parse` refuses is
    refused by ``file:line``."""
    for place, number, line in lines(path, format):
        yield number, parse(line, place, format, exact=exact)
