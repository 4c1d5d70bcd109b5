"""What a picture that is split into whole tiles becomes: their pixels, and where the tokens of each look."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clasp_trt.bundle import Longest, Ratio
from clasp_trt.chain import port
from clasp_trt.runtime.media.processors.pixels import cells, cut, scaled
from clasp_trt.runtime.media.seen import Block, Seen


def seen(record: Ratio | Longest, canvas: Image.Image, whole: Image.Image | None) -> Seen:
    """The tiles of ``canvas`` in raster order and, where there are several, the ``whole`` picture as one more.

    The vision graph takes ``pixel_values`` ``[tiles, 3, tile, tile]``. Tokens are those of the tiles one after another.
    """
    side = record.tile
    tiles = [*cut(np.asarray(canvas), side), *(() if whole is None else (np.asarray(whole),))]
    values = np.stack([scaled(tile, record.rescale, record.mean, record.std) for tile in tiles])
    rows, columns = canvas.height // side, canvas.width // side
    blocks = [_whole(record, canvas)]
    if whole is not None:
        blocks[:0] = [_tile(record, row, column) for row in range(rows) for column in range(columns)]
    return Seen({port.PIXEL_VALUES: values}, {}, tuple(blocks), canvas)


def _tile(record: Ratio | Longest, row: int, column: int) -> Block:
    """The tokens of one tile where they lie in the canvas."""
    corner = np.array([column, row, column, row]) * record.tile
    return _block(record, corner + _cells(record), row + 1, column + 1)


def _whole(record: Ratio | Longest, canvas: Image.Image) -> Block:
    """Those of the whole picture, squeezed into a tile: they cover all of it."""
    stretched = np.array([canvas.width, canvas.height] * 2) / record.tile
    return _block(record, _cells(record) * stretched, 0, 0)


def _cells(record: Ratio | Longest) -> NDArray[np.int64]:
    """Left, top, right and bottom in pixels of the tokens of a tile, in raster order, int64 ``[tokens, 4]``."""
    side = range(record.grid)
    return cells(side, side) * (record.patch * record.merge)


def _block(record: Ratio | Longest, boxes: NDArray[np.generic], row: int, column: int) -> Block:
    return Block(record.tokens, (1, record.grid, record.grid), boxes.astype(np.float32), row, column)
