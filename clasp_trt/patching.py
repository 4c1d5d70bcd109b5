"""How a picture keeps its shape and becomes a grid of patches, blocks of which are tokens, as Qwen2-VL has it.

Both sides are rounded to whole blocks. Where the blocks would then have more pixels than allowed, or less, the picture
is scaled to that area first; a slender picture may still end up beyond it, since no side has less than one block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

MAX_RATIO = 200
"""Long side over short side of the most slender picture that is taken."""
USUAL_SIZE = (480, 640)
"""Height and width in pixels of the picture that kernels are tuned for."""


@dataclass(frozen=True)
class Patching:
    """Patches of ``patch`` pixels squared, a token for each ``merge`` by ``merge`` of them, and pictures of
    ``least_pixels`` to ``most_pixels``, or less where they would have more than ``most_tokens``. ``window`` is how many
    patches a side of a window of the attention has."""

    patch: int
    merge: int
    least_pixels: int
    most_pixels: int
    window: int | None = None
    most_tokens: int | None = None

    @property
    def block(self) -> int:
        """Pixels of a side of what becomes one token."""
        return self.patch * self.merge

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width in pixels after resizing, multiples of :attr:`block`. Raises :class:`ValueError` for a
        picture whose one side is more than :data:`MAX_RATIO` times the other."""
        if max(height, width) > MAX_RATIO * min(height, width):
            raise ValueError(f"{width}x{height} px: one side is more than {MAX_RATIO} times the other")
        block, sides = self.block, (height, width)
        tall, wide = (round(side / block) * block for side in sides)  # a half to the even, as in Python
        if tall * wide > (most := self.area):
            shrink = math.sqrt(height * width / most)
            tall, wide = (max(block, math.floor(side / shrink / block) * block) for side in sides)
        elif tall * wide < self.least_pixels:
            grow = math.sqrt(self.least_pixels / (height * width))
            tall, wide = (math.ceil(side * grow / block) * block for side in sides)
        return tall, wide

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches of a picture of that size in pixels."""
        tall, wide = self.resized(height, width)
        return tall // self.patch, wide // self.patch

    def count(self, height: int, width: int) -> int:
        """Visual tokens of a picture of that size in pixels."""
        tall, wide = self.resized(height, width)
        return tall * wide // self.block**2

    @property
    def token_range(self) -> tuple[int, int, int]:
        """The least, usual and most visual tokens of a picture: no picture has less or more."""
        least, most = self._least, self.area / self.block**2
        few = min(math.ceil(least), max(1, int(most) // 2))  # one row of them, of which nearly half was cut off
        return few, self.count(*USUAL_SIZE), self._most_of(most)

    @property
    def area(self) -> int:
        """Pixels of the largest picture: those of ``most_tokens``, and less where a slender one would have more."""
        if self.most_tokens is None or self._most_of(self.most_pixels / self.block**2) <= self.most_tokens:
            return self.most_pixels
        slender = ((self.most_tokens + 1) ** 2 * self.block**2 - 1) // MAX_RATIO
        return max(self.least_pixels, min(self.most_tokens * self.block**2, slender))

    @property
    def _least(self) -> float:
        return self.least_pixels / self.block**2

    def _most_of(self, blocks: float) -> int:
        """Visual tokens of a picture of up to ``blocks`` blocks by area, at most: as many; or a row of a slender one;
        or what one has that is scaled to the least area, two rows or a slender one."""
        small = max(2 * math.ceil(self._least), math.ceil(math.sqrt(MAX_RATIO * self._least)))
        return max(int(blocks), int(math.sqrt(MAX_RATIO * blocks)), small)

    @property
    def patch_range(self) -> tuple[int, int, int]:
        """The same of patches."""
        few, usual, many = (tokens * self.merge**2 for tokens in self.token_range)
        return few, usual, many

    @property
    def window_range(self) -> tuple[int, int, int]:
        """The same of windows of the attention; none where it has no windows."""
        if self.window is None:
            return 0, 0, 0
        side = self.window // self.merge
        rows, columns = (patches // self.merge for patches in self.grid(*USUAL_SIZE))
        usual = math.ceil(rows / side) * math.ceil(columns / side)
        return 1, usual, max(math.ceil(short / side) * math.ceil(long / side) for short, long in self._largest())

    @property
    def longest(self) -> int:
        """Patches of the longest side that a picture can have, or a few more."""
        return self.merge * max(long for _, long in self._largest())

    def _largest(self) -> Iterator[tuple[int, int]]:
        """For each number of blocks that the short side can have, how many the long side has at most."""
        most = self.token_range[-1]
        for short in range(1, math.isqrt(most) + 1):
            yield short, min(most // short, MAX_RATIO * (short + 1) + 1)
