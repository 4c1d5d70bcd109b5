"""Asks a loaded bundle, with each picture's vision features computed once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clasp_trt.errors import DataError, ImageError, PromptError
from clasp_trt.policy import Policy
from clasp_trt.runtime.sampling import GREEDY
from clasp_trt.tools.evaluate.dataset import Row
from clasp_trt.tools.evaluate.scoring import matches

if TYPE_CHECKING:
    from clasp_trt.runtime.encoded import Encoded, Shown
    from clasp_trt.runtime.pipeline import Pipeline


class Answers:
    """Whether a policy answers a question right.

    Features of the first pictures are kept in at most ``cache_bytes``, besides those of the pictures and the clip in
    use; the others are computed again when a later category asks about them. ``data`` is what errors call the file of
    the questions.
    """

    def __init__(self, pipeline: Pipeline, data: str, *, max_new_tokens: int, cache_bytes: int) -> None:
        self._pipeline, self._data, self._max_new_tokens = pipeline, data, max_new_tokens
        self._room = cache_bytes
        self._kept: dict[Path, Encoded] = {}
        self._current: dict[Path, Encoded] = {}
        self._clip: tuple[Path, Shown] | None = None

    def right(self, policy: Policy, category: int, row: Row) -> bool:
        """Whether the greedy answer under ``policy``, with the router overruled, is that of ``row``.

        Raises :class:`DataError`, which names the line, for a picture or prompt that cannot be used.
        """
        try:
            result = self._pipeline.variant(policy=policy).generate(
                self._encoded(row.images),
                row.prompt,
                video=None if row.video is None else self._watched(row.video),
                max_new_tokens=self._max_new_tokens,
                sampling=GREEDY,
                category=policy.categories[category].name,
            )
        except (ImageError, PromptError) as error:
            raise DataError(f"{self._data}:{row.line}: {error}") from error
        return matches(result.text, row.answer)

    def _watched(self, video: Path) -> Shown:
        if self._clip is None or self._clip[0] != video:
            self._clip = video, self._pipeline.encode_clip(self._pipeline.load_clip(video))
        return self._clip[1]

    def _encoded(self, images: Sequence[Path]) -> list[Encoded]:
        found: dict[Path, Encoded] = {}
        for image in images:
            if image not in found:
                found[image] = self._kept.get(image) or self._current.get(image) or self._encode(image)
        self._current = found
        return [found[image] for image in images]

    def _encode(self, image: Path) -> Encoded:
        encoded = self._pipeline.encode(image)
        if encoded.nbytes <= self._room:
            self._room -= encoded.nbytes
            self._kept[image] = encoded
        return encoded
