"""How many frames of a clip are taken, which, and how large they become where patches reach over several of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from clasp_trt.patching import MAX_RATIO, Patching


def _even(there: range, taken: int) -> list[int]:
    """From the first frame on."""
    return [there[number * len(there) // taken] for number in range(taken)]


def _ends(there: range, taken: int) -> list[int]:
    """From the first frame to the last; a half is rounded to the even, as numpy does."""
    apart = (len(there) - 1) / max(taken - 1, 1)
    return [there[round(number * apart)] for number in range(taken)]


def _middle(there: range, taken: int) -> list[int]:
    """The middle one of each of so many parts."""
    return [there[(2 * number + 1) * len(there) // (2 * taken)] for number in range(taken)]


def _span(there: range, taken: int) -> list[int]:
    """From the first frame to the last, rounded down, as numpy's ``linspace`` of whole numbers does."""
    apart = (len(there) - 1) / max(taken - 1, 1)
    found = [math.floor(number * apart + there.start) for number in range(taken)]
    return sorted({*found[:-1], there[-1]}) if taken > 1 else found


RULES: Mapping[str, Callable[[range, int], list[int]]] = MappingProxyType(
    {"even": _even, "ends": _ends, "middle": _middle, "span": _span}
)
"""By name: the numbers, ascending, of the frames that are taken of those that are there."""
_NEAREST = ("span",)  # rules by which the frames of so many seconds are rounded, and not rounded down


@dataclass(frozen=True)
class Sampling:
    """Up to ``frames`` frames of a clip by one of :data:`RULES`: ``fps`` of each second where that is said, but at
    least ``least``, and a multiple of ``multiple`` where there are so many. Of a clip that is longer than ``frames``
    times ``fps`` seconds, and twice as many as ``skip`` besides, the first and last ``skip`` seconds are left out."""

    rule: str
    frames: int
    fps: float | None = None
    least: int = 1
    multiple: int = 1
    skip: float = 0.0

    def count(self, there: int, seconds: float) -> int:
        """How many are taken of a clip of ``there`` frames that lasts ``seconds``."""
        wanted = self.frames if self.fps is None else max(self._whole(seconds * self.fps), self.least)
        taken = min(wanted, self.frames, there)
        return max(taken - taken % self.multiple, min(taken, self.multiple), 1)

    def numbers(self, there: int, seconds: float) -> list[int]:
        """Which, ascending from 0."""
        return RULES[self.rule](self._left(there, seconds), self.count(there, seconds))

    def _whole(self, frames: float) -> int:
        return round(frames) if self.rule in _NEAREST else math.floor(frames)

    def _left(self, there: int, seconds: float) -> range:
        """Those to choose from."""
        if not self.skip or self.fps is None or seconds - 2 * self.skip <= self.frames * self.fps:
            return range(there)
        rate = there / seconds
        first, last = int(self.skip * rate), min(int(there - self.skip * rate), there - 1)
        return range(first, last + 1) if first < last else range(there)


@dataclass(frozen=True)
class Filming:
    """Frames of a clip as :class:`~clasp_trt.patching.Patching` has pictures, ``time`` of them in a patch, and the
    clip with at most ``most_tokens`` visual tokens. The areas that ``patching`` states are those of a frame, or with
    ``whole`` those of all frames together, as in Qwen3-VL."""

    patching: Patching
    time: int
    whole: bool
    most_tokens: int

    def steps(self, frames: int) -> int:
        """How many times the tower looks at ``frames`` frames: the last one is repeated to fill a patch."""
        return -(-frames // self.time)

    def resized(self, frames: int, height: int, width: int) -> tuple[int, int]:
        """Height and width in pixels of each of ``frames`` frames, multiples of the block. Raises :class:`ValueError`
        for frames too slender or, with ``whole``, too few, and where so many have more tokens however small."""
        steps, block = self.steps(frames), self.patching.block
        if self.whole and frames < self.time:
            raise ValueError(f"{frames} frame{'' if frames == 1 else 's'}, but patches are {self.time} deep")
        area = min(self.patching.most_pixels, self._area(steps))
        while True:
            tall, wide = self._sized(frames, height, width, area)
            if (tokens := steps * tall * wide // block**2) <= self.most_tokens:
                return tall, wide
            if tall == wide == block:
                raise ValueError(
                    f"{frames} frames, {steps} tokens at least, but one may have {self.most_tokens} at most"
                )
            area = min(area - 1, area * self.most_tokens // tokens)

    def _area(self, steps: int) -> int:
        """What :attr:`most_tokens` leave for the area that is bounded."""
        if self.whole:
            return self.most_tokens * self.time * self.patching.block**2
        return max(1, self.most_tokens // steps) * self.patching.block**2

    def _sized(self, frames: int, height: int, width: int, area: int) -> tuple[int, int]:
        least = min(self.patching.least_pixels, area)
        if not self.whole:
            frame = replace(self.patching, least_pixels=least, most_pixels=area, most_tokens=None)
            try:
                return frame.resized(height, width)
            except ValueError as error:
                raise ValueError(f"frames of {error}") from None
        # As transformers' Qwen3VLVideoProcessor: to a block at least, then by the volume of all frames.
        block = self.patching.block
        if min(height, width) < block:
            scale = max(block / height, block / width)
            height, width = int(height * scale), int(width * scale)
        if max(height, width) > MAX_RATIO * min(height, width):
            raise ValueError(f"frames of {width}x{height} px: one side is more than {MAX_RATIO} times the other")
        tall, wide = (round(side / block) * block for side in (height, width))
        deep = round(frames / self.time) * self.time
        if deep * tall * wide > area:
            shrink = math.sqrt(frames * height * width / area)
            tall, wide = (max(block, math.floor(side / shrink / block) * block) for side in (height, width))
        elif deep * tall * wide < least:
            grow = math.sqrt(least / (frames * height * width))
            tall, wide = (math.ceil(side * grow / block) * block for side in (height, width))
        return tall, wide
