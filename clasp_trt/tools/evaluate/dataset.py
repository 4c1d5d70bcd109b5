"""Questions with known answers: a JSON-lines file with a row ``{"image", "prompt", "answer", "category"?}`` a line.

Other keys mean nothing here. ``image`` may be a list of several, in the order of the prompt; ``video``, a clip's file
or folder of frames, may stand beside it or in its place. An answer may be a number or a boolean, which stands for its
text. Paths are relative to the file's own folder; absolute ones are taken as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clasp_trt.errors import DataError
from clasp_trt.storage.fields import Field, Format
from clasp_trt.storage.lines import json_lines

_REQUIRED = ("prompt", "answer")
_FORMAT = Format(DataError, DataError, "expected a JSON object with image, prompt, answer on each line")


@dataclass(frozen=True)
class Row:
    """One question, about ``images`` and perhaps a ``video`` after them, or alone. Their paths are resolved against the
    file's folder; ``line`` counts from 1."""

    images: tuple[Path, ...]
    prompt: str
    answer: str
    category: str | None
    line: int
    video: Path | None = None

    @property
    def shown(self) -> tuple[Path, ...]:
        """All that it is about, in order."""
        return self.images if self.video is None else (*self.images, self.video)

    @property
    def image(self) -> Path:
        """The first of it."""
        return self.shown[0]


def rows_of(path: str | os.PathLike[str]) -> Iterator[tuple[int, Field]]:
    """The value of each line as it stands, with its number. Raises :class:`DataError` for a line that is not JSON."""
    return json_lines(path, _FORMAT, exact=True)


def read(path: str | os.PathLike[str], *, answered: bool = True) -> tuple[Row, ...]:
    """Every row of a file, in its order; at least one. Unless they must be ``answered``, rows may lack an answer, which
    is empty then.

    Raises:
        DataError: begins with ``file:line`` where the fault is in one. The file cannot be read or is empty; a line is
            not a JSON object in UTF-8 with the known keys and non-empty strings as their values, is longer than 8 MiB
            or blank before others that are not; or its image is not a file.
    """
    rows: list[Row] = []
    found: set[Path | None] = {None}
    for number, item in rows_of(path):
        row = _row(item, Path(path).parent, number, answered)
        for image in row.images:
            if image not in found and not image.is_file():
                raise DataError(
                    f"{item.source}: there is no image {image}; paths are relative to the folder of this file"
                )
            found.add(image)
        if row.video not in found and not (row.video and row.video.exists()):
            raise DataError(
                f"{item.source}: there is no video {row.video}; paths are relative to the folder of this file"
            )
        found.add(row.video)
        rows.append(row)
    if not rows:
        raise DataError(f"{os.fspath(path)} is empty; {_FORMAT.cure}")
    return tuple(rows)


def _row(item: Field, folder: Path, number: int, answered: bool) -> Row:
    of = item.open_record(*(_REQUIRED if answered else _REQUIRED[:1]))
    category = of["category"].prose() if "category" in of else None
    video = folder / of["video"].prose() if "video" in of else None
    if "image" not in of and video is None:
        item.fail("an image, a video, or both")
    given = list[Field]()
    if "image" in of:
        given = of["image"].elements() if isinstance(of["image"].value, list) else [of["image"]]
        if not given:
            of["image"].fail("a path, or a list of paths")
    answer = of["answer"].said() if "answer" in of else ""
    images = tuple(folder / each.prose() for each in given)
    return Row(images, of["prompt"].prose(), answer, category, number, video)


def linked(rows: Iterable[Row]) -> list[Path]:
    """A picture or clip for each row that stands for all of its own: rows that share one, or are linked by others that
    do, have the same."""
    asked, stands = list(rows), dict[Path, Path]()

    def root(image: Path) -> Path:
        while (above := stands.setdefault(image, image)) != image:
            stands[image] = stands.setdefault(above, above)
            image = above
        return image

    for row in asked:
        least, *greater = sorted({root(shown) for shown in row.shown})
        stands.update(dict.fromkeys(greater, least))
    return [root(row.image) for row in asked]
