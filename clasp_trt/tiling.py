"""How a picture of any shape becomes square tiles and then visual tokens, as LLaVA-NeXT has it.

The whole picture, squeezed into one tile, comes first. The picture is then fitted, keeping its aspect, into the best of
some canvases and cut into tiles; cells of the tower that saw nothing but padding are dropped, and each row of those
that are left ends in a token that stands for no place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PINPOINTS = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
"""Heights and widths of the canvases of a config, or of a processor's settings, that name none."""


@dataclass(frozen=True)
class Fit:
    """One picture: ``canvas`` and ``resized`` are heights and widths in pixels, ``rows`` and ``columns`` the cells of
    the canvas that hold some of it, and ``tiles`` counts those of the canvas and the whole picture."""

    canvas: tuple[int, int]
    resized: tuple[int, int]
    rows: range
    columns: range
    tiles: int

    @property
    def tokens(self) -> int:
        """Visual tokens of the canvas: its cells, and one for the end of each row."""
        return len(self.rows) * (len(self.columns) + 1)


@dataclass(frozen=True)
class Tiling:
    """Tiles of ``tile`` pixels squared whose tower has a token for each ``cell`` by ``cell`` of them, and the canvases
    ``pinpoints``, heights and widths in pixels that are multiples of ``tile``; those alone whose pictures have at most
    ``most_tokens``, or else that whose pictures have the least."""

    tile: int
    cell: int
    pinpoints: tuple[tuple[int, int], ...]
    most_tokens: int | None = None

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
        fitting = tuple(each for each in self.pinpoints if self._tokens(each) <= self.most_tokens)
        return fitting or (min(self.pinpoints, key=self._tokens),)

    def _tokens(self, canvas: tuple[int, int]) -> int:
        """Visual tokens of a picture that fills ``canvas``."""
        height, width = (side // self.cell for side in canvas)
        return self.rows + height * (width + 1)

    @property
    def usual_size(self) -> tuple[int, int]:
        """Height and width in pixels of a picture with the usual number of tokens: 3 to 4 of the largest canvas."""
        height, width = max(self.canvases, key=lambda size: size[0] * size[1])
        return (height * 3 // 4, width) if height <= width else (height, width * 3 // 4)

    @property
    def token_range(self) -> tuple[int, int, int]:
        """The least, usual and most visual tokens of a picture. The least are those of a mere line."""
        canvases = [(height // self.cell, width // self.cell) for height, width in self.canvases]
        least = min(min((rows % 2) * (columns + 1), rows * (columns % 2 + 1)) for rows, columns in canvases)
        return self.rows + least, self.count(*self.usual_size), max(map(self._tokens, self.canvases))

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
        rows, columns = tall // self.cell, wide // self.cell
        if width / height > columns / rows:
            kept = _middle(rows, height * (columns / width)), range(columns)
        else:
            kept = range(rows), _middle(columns, width * (rows / height))
        return Fit(canvas, resized, *kept, tiles=1 + (tall // self.tile) * (wide // self.tile))


def _shown(canvas: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """Pixels of the picture that a canvas shows, and less what it leaves empty: of equals the first is the best."""
    tall, wide = canvas
    scale = min(wide / width, tall / height)
    shown = min(int(width * scale) * int(height * scale), width * height)
    return shown, -(tall * wide - shown)


def _middle(cells: int, filled: float) -> range:
    """The cells of one axis that ``filled`` of them in its middle lie in, less an equal number at both ends."""
    padding = (cells - int(round(filled, 7))) // 2
    return range(padding, cells - padding)
