"""How a picture of any shape becomes square tiles and then visual tokens, as LLaVA-NeXT and LLaVA-OneVision have it.

The whole picture, squeezed into one tile, comes first. The picture is then fitted, keeping its aspect, into the best of
some canvases and cut into tiles; cells of the tower that saw nothing but padding are dropped, those of a picture with
far more than a limit are shrunk to about that many, and each row of what is left ends in a token that stands for no
place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

PINPOINTS = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
"""Heights and widths of the canvases of a config, or of a processor's settings, that name none."""
_SIDES = (384, 768, 1152, 1536, 1920, 2304)
LIMITED_PINPOINTS = tuple((height, width) for height in _SIDES for width in _SIDES)
"""The same where there is a limit."""
_SPARE = 1.1
"""How many times the limit's the sides of what is not shrunk yet may be."""


@dataclass(frozen=True)
class Fit:
    """One picture: ``canvas`` and ``resized`` are heights and widths in pixels, ``rows`` and ``columns`` the cells of
    the canvas that hold some of it, ``grid`` how many rows and columns these become, and ``tiles`` counts those of the
    canvas and the whole picture."""

    canvas: tuple[int, int]
    resized: tuple[int, int]
    rows: range
    columns: range
    grid: tuple[int, int]
    tiles: int

    @property
    def tokens(self) -> int:
        """Visual tokens of the canvas: its cells or what they were shrunk to, and one for the end of each row."""
        return _with_ends(self.grid)


@dataclass(frozen=True)
class Tiling:
    """Tiles of ``tile`` pixels squared whose tower has a token for each ``cell`` by ``cell`` of them, and the canvases
    ``pinpoints``, heights and widths in pixels that are multiples of ``tile``; those alone whose pictures have at most
    ``most_tokens``, or else that whose pictures have the least. More cells of a picture than ``limit`` tiles have are
    shrunk to these, if there is a limit."""

    tile: int
    cell: int
    pinpoints: tuple[tuple[int, int], ...]
    most_tokens: int | None = None
    limit: int | None = None

    @property
    def grid(self) -> int:
        """Rows, and as many columns, of cells in a tile."""
        return self.tile // self.cell

    @property
    def rows(self) -> int:
        """Cells of a tile."""
        return self.grid**2

    @property
    def canvases(self) -> tuple[tuple[int, int], ...]:
        """Those of :attr:`pinpoints` that are used."""
        if self.most_tokens is None:
            return self.pinpoints
        fitting = tuple(each for each in self.pinpoints if self._most(each) <= self.most_tokens)
        return fitting or (min(self.pinpoints, key=self._most),)

    def _most(self, canvas: tuple[int, int]) -> int:
        """Visual tokens, at most, of a picture in ``canvas``: one that is just not shrunk may have more than one that
        fills it."""
        return self.rows + max(map(_with_ends, self._grids(canvas)))

    def _grids(self, canvas: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """Rows and columns of what pictures in ``canvas`` become, from those that fill it to mere lines."""
        height, width = self._cells(canvas)
        if self.limit is None:  # then the two ends are the most and the least
            yield from ((height, width), (height % 2, width), (height, width % 2))
            return
        yield from (self._shrunk(rows, width) for rows in range(height, -1, -2))
        yield from (self._shrunk(height, columns) for columns in range(width, -1, -2))

    def _cells(self, canvas: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the cells of a canvas: what a tile has beyond whole ones is seen by none."""
        height, width = canvas
        return height // self.tile * self.grid, width // self.tile * self.grid

    def _shrunk(self, rows: int, columns: int) -> tuple[int, int]:
        """How many rows and columns the cells of a canvas become."""
        ratio = 0.0 if self.limit is None else math.sqrt(rows * columns / (self.limit * self.rows))
        return (int(rows // ratio), int(columns // ratio)) if ratio > _SPARE else (rows, columns)

    @property
    def usual_size(self) -> tuple[int, int]:
        """Height and width in pixels of a picture with the usual number of tokens: 3 to 4 of the largest canvas, of
        equals the least slender."""
        height, width = max(self.canvases, key=lambda size: (size[0] * size[1], min(size)))
        return (height * 3 // 4, width) if height <= width else (height, width * 3 // 4)

    @property
    def token_range(self) -> tuple[int, int, int]:
        """The least, usual and most visual tokens of a picture. The least are those of a mere line."""
        least = min(_with_ends(grid) for canvas in self.canvases for grid in self._grids(canvas))
        return self.rows + least, self.count(*self.usual_size), max(map(self._most, self.canvases))

    @property
    def tile_range(self) -> tuple[int, int, int]:
        """The least, usual and most tiles of a picture, the whole of it among them."""
        canvases = [height * width // self.tile**2 for height, width in self.canvases]
        return 1 + min(canvases), self.fit(*self.usual_size).tiles, 1 + max(canvases)

    def count(self, height: int, width: int) -> int:
        """Visual tokens of a picture of that size in pixels."""
        return self.rows + self.fit(height, width).tokens

    def fit(self, height: int, width: int) -> Fit:
        """How a picture of that size in pixels lies on the canvas that shows most of it, or wastes least."""
        canvas = max(self.canvases, key=lambda each: _shown(each, height, width))
        tall, wide = canvas
        across, down = wide / width, tall / height
        if across < down:
            resized = min(math.ceil(height * across), tall), wide
        else:
            resized = tall, min(math.ceil(width * down), wide)
        rows, columns = self._cells(canvas)
        if width / height > columns / rows:
            kept = _middle(rows, height * (columns / width)), range(columns)
        else:
            kept = range(rows), _middle(columns, width * (rows / height))
        grid = self._shrunk(*map(len, kept))
        return Fit(canvas, resized, *kept, grid, tiles=1 + (tall // self.tile) * (wide // self.tile))


def _shown(canvas: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """Pixels of the picture that a canvas shows, and less what it leaves empty: of equals the first is the best."""
    tall, wide = canvas
    scale = min(wide / width, tall / height)
    shown = min(int(width * scale) * int(height * scale), width * height)
    return shown, -(tall * wide - shown)


def _with_ends(grid: tuple[int, int]) -> int:
    """Tokens of rows and columns, and of the end of each row."""
    rows, columns = grid
    return rows * (columns + 1)


def _middle(cells: int, filled: float) -> range:
    """The cells of one axis that ``filled`` of them in its middle lie in, less an equal number at both ends."""
    padding = (cells - int(round(filled, 7))) // 2
    return range(padding, cells - padding)
