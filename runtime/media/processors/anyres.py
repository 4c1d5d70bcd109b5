"""Kind ``anyres``: the whole picture as one tile, and the tiles of the canvas that fits it best.

Same operations, order and rounding as ``transformers``' Pillow-backed ``LlavaNextImageProcessor`` and the packing of
``LlavaNextModel``: resize in uint8, pad with black, cut into tiles, rescale in float64 and round to float32, normalise
in float32; of the projected cells those that saw padding alone are left out, and each row ends in the newline.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clasp_trt.bundle.media import Anyres
from clasp_trt.chain import port
from clasp_trt.runtime.media.processors.pixels import cells, cut, numbers, resampling, scaled, to_rgb
from clasp_trt.runtime.media.seen import Block, Seen
from clasp_trt.tiling import Fit


class AnyresProcessor:
    """See :class:`clasp_trt.bundle.media.Anyres`.

    The vision graph takes ``pixel_values`` ``[tiles, 3, tile, tile]``, the whole picture first and the canvas' tiles in
    raster order; the projector takes ``row_index`` int64 ``[tokens]`` into the rows of all tiles and, after them, the
    newline.
    """

    def __init__(self, record: Anyres) -> None:
        self._record, self._tiling = record, record.tiling
        self._resample = resampling(record.resample)

    def count(self, height: int, width: int) -> int:
        return self._tiling.count(height, width)

    def __call__(self, image: Image.Image) -> Seen:
        image, side, record = to_rgb(image), self._record.tile, self._record
        fit = self._tiling.fit(image.height, image.width)
        whole = np.asarray(image.resize((side, side), resample=self._resample))
        resized = image.resize(fit.resized[::-1], resample=self._resample)
        tiles = [whole, *cut(_padded(np.asarray(resized), fit.canvas), side)]
        values = np.stack([scaled(tile, record.rescale, record.mean, record.std) for tile in tiles])
        return Seen(
            {port.PIXEL_VALUES: values},
            {port.ROW_INDEX: np.concatenate([np.arange(self._tiling.rows), self._rows(fit)])},
            (self._whole(fit), self._canvas(fit)),
            resized,
        )

    def _rows(self, fit: Fit) -> NDArray[np.int64]:
        """Which rows of the projected tiles the tokens of the canvas are, the newline being the one after the last."""
        grid, across = self._tiling.grid, fit.canvas[1] // self._record.tile
        rows, columns = numbers(fit.rows)[:, None], numbers(fit.columns)[None]
        tile = 1 + rows // grid * across + columns // grid
        held = tile * self._tiling.rows + rows % grid * grid + columns % grid
        newline = np.full((len(fit.rows), 1), fit.tiles * self._tiling.rows)
        return np.concatenate([held, newline], axis=1).reshape(-1)

    def _whole(self, fit: Fit) -> Block:
        """The picture squeezed into a tile: its cells cover all of it."""
        grid, (height, width) = self._tiling.grid, fit.resized
        boxes = cells(range(grid), range(grid)) * np.array([width, height, width, height]) / grid
        return Block(self._tiling.rows, (1, grid, grid), boxes.astype(np.float32))

    def _canvas(self, fit: Fit) -> Block:
        """The cells of the canvas where they lie in the picture, and newlines, which lie nowhere."""
        placed = cells(fit.rows, fit.columns) * self._record.cell
        padding = [(have - want) // 2 for have, want in zip(fit.canvas, fit.resized, strict=True)]
        placed = placed - np.array([padding[1], padding[0]] * 2)
        inside = np.clip(placed, 0, np.array([fit.resized[1], fit.resized[0]] * 2)).astype(np.float32)
        rows = inside.reshape(len(fit.rows), len(fit.columns), 4)
        newlines = np.full((len(fit.rows), 1, 4), np.nan, np.float32)
        boxes = np.concatenate([rows, newlines], axis=1).reshape(-1, 4)
        return Block(fit.tokens, (1, len(fit.rows), len(fit.columns) + 1), boxes)


def _padded(pixels: NDArray[np.uint8], canvas: tuple[int, int]) -> NDArray[np.uint8]:
    """``pixels`` in the middle of black, the odd row or column after them."""
    spare = [want - have for have, want in zip(pixels.shape, canvas, strict=False)]
    return np.pad(pixels, [*((each // 2, each - each // 2) for each in spare), (0, 0)])
