"""How a picture of any shape becomes whole square tiles, some patches of which are merged into each visual token.

A tile that stands for the whole picture comes last, unless one tile holds all of it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache


@dataclass(frozen=True)
class Split(ABC):
    """Tiles of ``tile`` pixels squared, whose tower takes patches of ``patch`` pixels squared, of which ``merge`` by
    ``merge`` side by side are a token. What is left of a tile over whole tokens belongs to none."""

    tile: int
    patch: int
    merge: int

    @property
    def rows(self) -> int:
        """Patches of a tile."""
        return (self.tile // self.patch) ** 2

    @property
    def grid(self) -> int:
        """Rows, and as many columns, of tokens in a tile."""
        return self.tile // self.patch // self.merge

    @property
    def tokens(self) -> int:
        """Visual tokens of a tile."""
        return self.grid**2

    @property
    @abstractmethod
    def tile_range(self) -> tuple[int, int, int]:
        """The least, usual and most tiles of a picture, the whole of it among them."""

    @property
    def token_range(self) -> tuple[int, int, int]:
        """The least, usual and most visual tokens of a picture."""
        least, usual, most = self.tile_range
        return least * self.tokens, usual * self.tokens, most * self.tokens

    @abstractmethod
    def canvas(self, height: int, width: int) -> tuple[int, int]:
        """Height and width in pixels, both multiples of :attr:`tile`, that a picture of that size is cut at."""

    def tiles(self, height: int, width: int) -> int:
        """Tiles of a picture of that size in pixels, the whole of it among them."""
        tall, wide = self.canvas(height, width)
        return _with_whole(tall // self.tile * (wide // self.tile))

    def count(self, height: int, width: int) -> int:
        """Visual tokens of a picture of that size in pixels."""
        return self.tiles(height, width) * self.tokens


@dataclass(frozen=True)
class ByRatio(Split):
    """The picture fills those ``least`` to ``most`` tiles whose ratio of width to height is nearest to its own, as in
    InternVL."""

    least: int
    most: int

    @property
    def usual_size(self) -> tuple[int, int]:
        """Height and width in pixels of a picture with the usual number of tokens: 3 to 4."""
        return 3 * self.tile, 4 * self.tile

    def capped(self, tokens: int | None) -> ByRatio:
        """The same with fewer tiles, so that no picture has more than ``tokens``, or one tile."""
        if tokens is None or self.token_range[2] <= tokens:
            return self
        most = max(1, tokens // self.tokens - 1)  # and the whole picture
        return replace(self, least=min(self.least, most), most=most)

    @property
    def tile_range(self) -> tuple[int, int, int]:
        return _with_whole(self.least), self.tiles(*self.usual_size), _with_whole(self.most)

    def canvas(self, height: int, width: int) -> tuple[int, int]:
        ratio, area = width / height, width * height
        nearest, best = math.inf, (1, 1)
        for columns, rows in _grids(self.least, self.most):
            distance = abs(ratio - columns / rows)
            # of equals the one with more tiles, as long as these are less than twice the picture
            if distance < nearest or (distance == nearest and area > 0.5 * self.tile**2 * columns * rows):
                nearest, best = distance, (columns, rows)
        return best[1] * self.tile, best[0] * self.tile


@dataclass(frozen=True)
class ByEdge(Split):
    """The picture's long side becomes ``longest`` pixels, then both the next multiples of :attr:`tile`, as in
    Idefics3. Without ``split`` it becomes one tile."""

    longest: int
    split: bool

    @property
    def usual_size(self) -> tuple[int, int]:
        """Height and width in pixels of a picture with the usual number of tokens: 3 to 4."""
        return max(1, self.longest * 3 // 4), self.longest

    def capped(self, tokens: int | None) -> ByEdge:
        """The same with a shorter edge, so that no picture has more than ``tokens``, or one tile."""
        if tokens is None or self.token_range[2] <= tokens:
            return self
        edge = max(1, math.isqrt(max(0, tokens // self.tokens - 1))) * self.tile
        return replace(self, longest=edge - edge % 2)  # a short side that is made even may be longer than an odd one

    @property
    def tile_range(self) -> tuple[int, int, int]:
        line = self.tiles(1, 2 * self.longest)
        return line, self.tiles(*self.usual_size), self.tiles(self.longest, self.longest)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of a picture whose long side is :attr:`longest`, its short side made even."""
        ratio = width / height
        if width >= height:
            return max(1, _even(int(self.longest / ratio))), self.longest
        return self.longest, max(1, _even(int(self.longest * ratio)))

    def canvas(self, height: int, width: int) -> tuple[int, int]:
        if not self.split:
            return self.tile, self.tile
        height, width = self.resized(height, width)
        ratio = width / height
        if width >= height:
            wide = self._whole(width)
            return self._whole(int(wide / ratio)), wide
        tall = self._whole(height)
        return tall, self._whole(int(tall * ratio))

    def _whole(self, side: int) -> int:
        """The next multiple of a tile."""
        return max(1, math.ceil(side / self.tile)) * self.tile


def _with_whole(tiles: int) -> int:
    return tiles if tiles == 1 else tiles + 1


def _even(side: int) -> int:
    return side + side % 2


@lru_cache(maxsize=16)
def _grids(least: int, most: int) -> tuple[tuple[int, int], ...]:
    """Columns and rows of ``least`` to ``most`` tiles, those of few tiles first."""
    found = [(c, r) for c in range(1, most + 1) for r in range(1, most // c + 1) if c * r >= least]
    return tuple(sorted(found, key=lambda grid: grid[0] * grid[1]))
