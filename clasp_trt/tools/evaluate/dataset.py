"""Questions with known answers: a JSON-lines file with a row ``{"image", "prompt", "answer", "category"?}`` a line.

Image paths are relative to the file's own folder; absolute ones are taken as they are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from clasp_trt.errors import DataError

MAX_LINE_BYTES = 8 * 2**20
"""Longest line that is read: a question is text, and a file without line ends must not fill the memory."""

_REQUIRED = ("image", "prompt", "answer")
_KEYS = (*_REQUIRED, "category")


@dataclass(frozen=True)
class Row:
    """One question. ``image`` is resolved against the file's folder; ``line`` counts from 1."""

    image: Path
    prompt: str
    answer: str
    category: str | None
    line: int


def read(path: str | os.PathLike[str]) -> tuple[Row, ...]:
    """Every row of a file, in its order; at least one.

    Raises:
        DataError: begins with ``file:line`` where the fault is in one. The file cannot be read or is empty; a line is
            not a JSON object in UTF-8 with exactly the known keys and non-empty strings as values, is longer than 8
            MiB or blank; or its image is not a file.
    """
    name, folder = os.fspath(path), Path(path).parent
    rows: list[Row] = []
    found: set[Path] = set()
    try:
        for number, members in objects(path):
            place = f"{name}:{number}"
            row = _row(members, folder, number, place)
            if row.image not in found:
                if not row.image.is_file():
                    _fail(place, f"there is no image {row.image}; paths are relative to the folder of this file")
                found.add(row.image)
            rows.append(row)
    except OSError as error:
        raise DataError(
            f"{name}: cannot be read ({error.strerror or type(error).__name__}); expected a file with a JSON object "
            f"with {', '.join(_REQUIRED)} on each line"
        ) from None
    if not rows:
        raise DataError(f"{name} is empty; expected a JSON object with {', '.join(_REQUIRED)} on each line")
    return tuple(rows)


def objects(path: str | os.PathLike[str]) -> Iterator[tuple[int, dict[str, object]]]:
    """The JSON object of each line of a file, with the line's number from 1.

    Raises ``OSError`` if the file cannot be read, and :class:`DataError` for a line that holds anything else.
    """
    name = os.fspath(path)
    for number, line in enumerate(_lines(Path(path), name), start=1):
        yield number, _object(line, f"{name}:{number}")


def text(members: dict[str, object], key: str, place: str) -> str:
    """The string that ``members`` must have as ``key``. Raises :class:`DataError`, which begins with ``place``."""
    if key not in members:
        _fail(place, f"missing key {key!r}")
    return _text(members[key], key, place)


def _lines(path: Path, name: str) -> Iterator[bytes]:
    with path.open("rb") as file:
        number = 1
        while line := file.readline(MAX_LINE_BYTES + 1):
            if len(line) > MAX_LINE_BYTES:
                _fail(f"{name}:{number}", f"longer than {MAX_LINE_BYTES >> 20} MiB; expected one JSON object a line")
            yield line
            number += 1


def _object(line: bytes, place: str) -> dict[str, object]:
    try:
        value = json.loads(line.decode("utf-8"), object_pairs_hook=lambda pairs: _members(pairs, place))
    except UnicodeDecodeError as error:
        _fail(place, f"byte {error.start} is not UTF-8; expected a JSON object in UTF-8")
    except RecursionError:
        _fail(place, "nested too deeply; expected an object of strings")
    except ValueError as error:
        _fail(
            place, "blank; remove the line" if not line.strip() else f"not JSON ({error}); expected one object a line"
        )
    if not isinstance(value, dict):
        _fail(place, f"expected an object with {', '.join(_REQUIRED)}, got {_brief(value)}")
    return value


def _members(pairs: list[tuple[str, object]], place: str) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        _fail(place, f"a key occurs twice among {', '.join(_brief(key) for key, _ in pairs)}")
    return members


def _row(members: dict[str, object], folder: Path, number: int, place: str) -> Row:
    for key in members:
        if key not in _KEYS:
            _fail(place, f"unknown key {_brief(key)} (known: {', '.join(_KEYS)})")
    for key in _REQUIRED:
        if key not in members:
            _fail(place, f"missing key {key!r}; each line needs {', '.join(_REQUIRED)}")
    texts = {key: _text(value, key, place) for key, value in members.items()}
    image = folder / texts["image"]
    return Row(image, texts["prompt"], texts["answer"], texts.get("category"), number)


def _text(value: object, key: str, place: str) -> str:
    if not isinstance(value, str) or not value.strip():
        _fail(place, f"{key}: expected a string that is not empty, got {_brief(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON can spell half of a character, which no text has
        _fail(place, f"{key}: {_brief(value)} holds a lone surrogate; write the whole character")
    return value


def _fail(place: str, what: str) -> NoReturn:
    raise DataError(f"{place}: {what}")


def _brief(value: object) -> str:
    """``value`` in a few printable characters."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
