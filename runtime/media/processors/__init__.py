"""Processors of pictures, one file for each kind that a manifest may name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from PIL import Image

from clasp_trt.bundle import Anyres, Grid, Longest, Mixed, Ratio, Square, media
from clasp_trt.runtime.media.processors.anyres import AnyresProcessor
from clasp_trt.runtime.media.processors.grid import GridProcessor
from clasp_trt.runtime.media.processors.longest import LongestProcessor
from clasp_trt.runtime.media.processors.mixed import MixedProcessor
from clasp_trt.runtime.media.processors.ratio import RatioProcessor
from clasp_trt.runtime.media.processors.square import SquareProcessor
from clasp_trt.runtime.media.seen import Seen


class Processor(Protocol):
    """Makes of a picture what the vision graph takes."""

    def count(self, height: int, width: int) -> int:
        """Visual tokens of a picture of that size in pixels. Raises as a call does."""

    def __call__(self, image: Image.Image) -> Seen:
        """Raises :class:`clasp_trt.errors.ImageError` for a picture that cannot be taken."""


KINDS: Mapping[str, Callable[[Any], Processor]] = MappingProxyType(
    {
        Square.kind: SquareProcessor,
        Anyres.kind: AnyresProcessor,
        Grid.kind: GridProcessor,
        Ratio.kind: RatioProcessor,
        Longest.kind: LongestProcessor,
        Mixed.kind: MixedProcessor,
    }
)
"""By the kind of the record in :mod:`clasp_trt.bundle.media` that one is made of."""


def processor(record: media.Processor) -> Processor:
    """The processor of a manifest's record."""
    return KINDS[record.kind](record)
