"""Questions with known answers: a JSON-lines file with a row ``{"image", "prompt", "answer", "category"?}`` a line.

Other keys mean nothing here. ``image`` may be a list of several, in the order of the prompt. An answer may be a number
or a boolean, which stands for its text. Image paths are relative to the file's own folder; absolute ones are taken as
they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from clasp_trt.errors import DataError
from clasp_trt.storage.fields import Field, Format
from clasp_trt.storage.lines import json_lines

_REQUIRED = ("image", "prompt", "answer")
_FORMAT = Format(DataError, DataError, f"expected a JSON object with {', '.join(_REQUIRED)} on each line")


@dataclass(frozen=True)
class Row:
    """One question. ``image`` and the ``others`` beside it are resolved against the file's folder; ``line`` counts from
    1."""

    image: Path
    prompt: str
    answer: str
    category: str | None
    line: int
    others: tuple[Path, ...] = ()

    @property
    def images(self) -> tuple[Path, ...]:
        """All of them, in order."""
        return self.image, *self.others


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
        for image in row.images:
            if image not in found and not image.is_file():
                raise DataError(
                    f"{item.source}: there is no image {image}; paths are relative to the folder of this file"
                )
            found.add(image)
        rows.append(row)
    if not rows:
        raise DataError(f"{os.fspath(path)} is empty; {_FORMAT.cure}")
    return tuple(rows)


def _row(item: Field, folder: Path, number: int) -> Row:
    of = item.open_record(*_REQUIRED)
    category = of["category"].prose() if "category" in of else None
    given = of["image"].elements() if isinstance(of["image"].value, list) else [of["image"]]
    if not given:
        of["image"].fail("a path, or a list of paths")
    first, *others = (folder / each.prose() for each in given)
    return Row(first, of["prompt"].prose(), of["answer"].said(), category, number, tuple(others))


def linked(rows: Iterable[Row]) -> list[Path]:
    """A picture for each row that stands for all of its own: rows that share one, or are linked by others that do, have
    the same."""
    asked, stands = list(rows), dict[Path, Path]()

    def root(image: Path) -> Path:
        while (above := stands.setdefault(image, image)) != image:
            stands[image] = stands.setdefault(above, above)
            image = above
        return image

    for row in asked:
        least, *greater = sorted({root(image) for image in row.images})
        stands.update(dict.fromkeys(greater, least))
    return [root(row.image) for row in asked]
