"""What a clip becomes: what the tower sees step by step, and the blocks of tokens that come of it.

The operations on frames are those of the Pillow-backed image processors of ``transformers``, whose video processors
resize with torchvision instead: values differ by one in 255 here and there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from clasp_trt.bundle import Pairs, Stills
from clasp_trt.errors import ImageError
from clasp_trt.runtime.media.clip import Clip
from clasp_trt.runtime.media.processors import processor
from clasp_trt.runtime.media.processors.grid import GridProcessor
from clasp_trt.runtime.media.seen import Block, Seen


@dataclass(frozen=True, eq=False)
class Filmed:
    """What a processor makes of a clip: ``steps`` are what the tower sees, one after another; their tokens in that
    order are those of ``blocks``."""

    steps: tuple[Seen, ...]
    blocks: tuple[Block, ...]


class ClipProcessor(Protocol):
    """One of the kinds of a manifest's record."""

    def __call__(self, clip: Clip) -> Filmed:
        """Raises :class:`clasp_trt.errors.ImageError` for a clip that cannot be taken."""


class StillsProcessor:
    """See :class:`clasp_trt.bundle.Stills`: every block of a frame has its time."""

    def __init__(self, record: Stills) -> None:
        self._process, self._last = processor(record.frame), processor(record.last)

    def __call__(self, clip: Clip) -> Filmed:
        *others, last = clip.frames
        steps = (*(self._process(frame) for frame in others), self._last(last))
        timed, lasts = zip(steps, clip.seconds, strict=True), clip.duration
        blocks = (replace(block, seconds=at, duration=lasts) for seen, at in timed for block in seen.blocks)
        return Filmed(steps, tuple(blocks))


class PairsProcessor:
    """See :class:`clasp_trt.bundle.Pairs`. A block that is apart has the mean time of its first and last frame; that of
    a whole clip has how many seconds its steps are apart."""

    def __init__(self, record: Pairs) -> None:
        self._record, self._filming = record, record.filming
        self._process = GridProcessor(record.frame)

    def __call__(self, clip: Clip) -> Filmed:
        sizes = {frame.size for frame in clip.frames}
        if len(sizes) > 1:
            one, other = (f"{width}x{height}" for width, height in sorted(sizes)[:2])
            raise ImageError(f"the clip has frames of {one} and {other} pixels; expected one size")
        width, height = sizes.pop()
        try:
            size = self._filming.resized(len(clip.frames), height, width)
        except ValueError as error:
            raise ImageError(f"the clip has {error}; crop it, or take another number of frames") from None
        time = self._record.frame.time
        spare = -len(clip.frames) % time
        frames, seconds = [*clip.frames, *clip.frames[-1:] * spare], [*clip.seconds, *clip.seconds[-1:] * spare]
        starts = range(0, len(frames), time)
        steps = tuple(self._process.at(size, frames[start : start + time]) for start in starts)
        if self._record.apart:
            times = [(seconds[start] + seconds[start + time - 1]) / 2 for start in starts]
            timed = zip(steps, times, strict=True)
            return Filmed(steps, tuple(replace(block, seconds=at) for seen, at in timed for block in seen.blocks))
        (first,) = steps[0].blocks
        boxes = np.concatenate([first.boxes] * len(steps))
        whole = Block(len(boxes), (len(steps), *first.grid[1:]), boxes, seconds=time * clip.apart)
        return Filmed(steps, (whole,))


KINDS: Mapping[str, Callable[[Any], ClipProcessor]] = MappingProxyType(
    {Stills.kind: StillsProcessor, Pairs.kind: PairsProcessor}
)
"""By the kind of the record in :mod:`clasp_trt.bundle.clips` that one is made of."""


def clip_processor(record: Stills | Pairs) -> ClipProcessor:
    """The processor of a manifest's record."""
    return KINDS[record.kind](record)
