"""Kind ``anyres``: the whole picture as one tile, and the tiles of the canvas that fits it best.

Same operations, order and rounding as ``transformers``' Pillow-backed ``LlavaNextImageProcessor`` and the packing of
``LlavaNextModel``: resize in uint8, pad with black, cut into tiles, rescale in float64 and round to float32, normalise
in float32; of the projected cells those that saw padding alone are left out, and each row ends in the newline. With a
limit as ``LlavaOnevisionModel``: more cells than it allows are shrunk before that, bilinearly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clasp_trt.bundle.media import Anyres
from clasp_trt.chain import port
from clasp_trt.runtime.media.processors.pixels import cells, cut, numbers, resampling, scaled, to_rgb
from clasp_trt.runtime.media.processors.taps import bilinear, unmixed
from clasp_trt.runtime.media.seen import Block, Seen
from clasp_trt.tiling import Fit


class AnyresProcessor:
    """See :class:`clasp_trt.bundle.media.Anyres`.

    The vision graph takes ``pixel_values`` ``[tiles, 3, tile, tile]``, the whole picture first and the canvas' tiles in
    raster order; the projector takes ``row_index`` int64 ``[tokens]`` into the rows of all tiles and, after them, the
    newline, or where there is a limit int64 ``[tokens, 4]`` beside ``row_weight`` float32 of that shape.
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
            self._pack(fit),
            (self._whole(fit), self._canvas(fit)),
            resized,
        )

    def _pack(self, fit: Fit) -> dict[str, NDArray[Any]]:
        """Which rows of the projected tiles the tokens are, the newline being the one after the last."""
        whole, held = np.arange(self._tiling.rows), self._held(fit)
        newline = np.full((fit.grid[0], 1), fit.tiles * self._tiling.rows)
        if self._record.limit is None:
            return {port.ROW_INDEX: np.concatenate([whole, np.concatenate([held, newline], axis=1).reshape(-1)])}
        mixed, weight = bilinear(held, *fit.grid)
        ends, end_weight = unmixed(newline[:, 0])
        index = np.concatenate([mixed, ends[:, None]], axis=1)
        weight = np.concatenate([weight, end_weight[:, None]], axis=1)
        first, first_weight = unmixed(whole)
        return {
            port.ROW_INDEX: np.concatenate([first, index.reshape(-1, 4)]),
            port.ROW_WEIGHT: np.concatenate([first_weight, weight.reshape(-1, 4)]),
        }

    def _held(self, fit: Fit) -> NDArray[np.int64]:
        """The rows of the projected tiles that the cells of the canvas are, int64 ``[rows, columns]``."""
        grid, across = self._tiling.grid, fit.canvas[1] // self._record.tile
        rows, columns = numbers(fit.rows)[:, None], numbers(fit.columns)[None]
        tile = 1 + rows // grid * across + columns // grid
        return tile * self._tiling.rows + rows % grid * grid + columns % grid

    def _whole(self, fit: Fit) -> Block:
        """The picture squeezed into a tile: its cells cover all of it."""
        grid, (height, width) = self._tiling.grid, fit.resized
        placed = cells(range(grid), range(grid)) * self._record.cell
        boxes = placed * np.array([width, height, width, height]) / self._record.tile
        return Block(self._tiling.rows, (1, grid, grid), boxes.astype(np.float32))

    def _canvas(self, fit: Fit) -> Block:
        """The cells of the canvas, or the shares that shrunk ones have of it, where they lie in the picture, and
        newlines, which lie nowhere."""
        rows, columns = fit.grid
        share = np.array([len(fit.columns) / max(columns, 1), len(fit.rows) / max(rows, 1)] * 2)
        placed = self._pixels(cells(range(rows), range(columns)) * share + [fit.columns.start, fit.rows.start] * 2)
        padding = [(have - want) // 2 for have, want in zip(fit.canvas, fit.resized, strict=True)]
        placed = placed - np.array([padding[1], padding[0]] * 2)
        inside = np.clip(placed, 0, np.array([fit.resized[1], fit.resized[0]] * 2)).astype(np.float32)
        newlines = np.full((rows, 1, 4), np.nan, np.float32)
        boxes = np.concatenate([inside.reshape(rows, columns, 4), newlines], axis=1).reshape(-1, 4)
        return Block(fit.tokens, (1, rows, columns + 1), boxes)

    def _pixels(self, placed: NDArray[np.float64]) -> NDArray[np.float64]:
        """Boxes in cells of the canvas, ``[boxes, 4]``, in its pixels: some at the end of a tile may be in no cell."""
        grid, (first, last) = self._tiling.grid, np.split(placed, 2, axis=1)
        tile = np.concatenate([np.floor(first / grid), np.ceil(last / grid) - 1], axis=1)
        pixels: NDArray[np.float64] = tile * self._record.tile + (placed - tile * grid) * self._record.cell
        return pixels


def _padded(pixels: NDArray[np.uint8], canvas: tuple[int, int]) -> NDArray[np.uint8]:
    """``pixels`` in the middle of black, the odd row or column after them."""
    spare = [want - have for have, want in zip(pixels.shape, canvas, strict=False)]
    return np.pad(pixels, [*((each // 2, each - each // 2) for each in spare), (0, 0)])
