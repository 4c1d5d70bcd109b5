"""Questions with known answers: a JSON-lines file with a row ``{"image", "prompt", "answer", "category"?}`` a line.

Other keys mean nothing here. An answer may be a number or a boolean, which stands for its text. Image paths are
relative to the file's own folder; absolute ones are taken as they are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from clasp_trt.errors import DataError
from clasp_trt.storage.fields import Field, Format
from clasp_trt.storage.lines import json_lines

_REQUIRED = ("image", "prompt", "answer")
_FORMAT = Format(DataError, DataError, f"expected a JSON object with {', '.join(_REQUIRED)} on each line")


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
            not a JSON object in UTF-8 with the known keys and non-empty strings as their values, is longer than 8 MiB
            or blank before others that are not; or its image is not a file.
    """
    rows: list[Row] = []
    found: set[Path] = set()
    for number, item in json_lines(path, _FORMAT, exact=True):
        row = _row(item, Path(path).parent, number)
        if row.image not in found:
            if not row.image.is_file():
                raise DataError(
                    f"{item.source}: there is no image {row.image}; paths are relative to the folder of this file"
                )
            found.add(row.image)
        rows.append(row)
    if not rows:
        raise DataError(f"{os.fspath(path)} is empty; {_FORMAT.cure}")
    return tuple(rows)


def _row(item: Field, folder: Path, number: int) -> Row:
    of = item.open_record(*_REQUIRED)
    category = of["category"].prose() if "category" in of else None
    return Row(folder / of["image"].prose(), of["prompt"].prose(), of["answer"].said(), category, number)
