"""Files that are read line by line: each line one JSON object, or a text of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from clasp_trt.storage.fields import Field, Format, parse

MAX_LINE_BYTES = 8 * 2**20
"""Longest line that is read: a file without line ends must not fill the memory."""


def lines(path: str | os.PathLike[str], format: Format) -> Iterator[tuple[str, int, bytes]]:
    """Each line with its place, ``file:line``, and its number from 1.

    Raises ``format.syntax`` if the file cannot be read, or for a line that is longer than :data:`MAX_LINE_BYTES`.
    """
    name = os.fspath(path)
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), start=1):
                if len(line) > MAX_LINE_BYTES:
                    raise format.syntax(f"{name}:{number}: longer than {MAX_LINE_BYTES >> 20} MiB; {format.cure}")
                yield f"{name}:{number}", number, line
    except OSError as error:
        raise format.syntax(
            f"{name}: cannot be read ({error.strerror or type(error).__name__}); {format.cure}"
        ) from None


def json_lines(path: str | os.PathLike[str], format: Format) -> Iterator[tuple[int, Field]]:
    """The JSON value of each line, with the line's number; what :func:`~clasp_trt.storage.fields.parse` refuses is
    refused by ``file:line``."""
    for place, number, line in lines(path, format):
        yield number, parse(line, place, format)
