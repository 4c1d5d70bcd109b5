"""Kind ``grid``: the picture in its own shape as a grid of patches, as Qwen2-VL's image processor makes it.

Same operations, order and rounding as ``transformers``' Pillow-backed ``Qwen2VLImageProcessor``: resize in uint8 to
whole blocks, rescale in float64 and round to float32, normalise in float32, cut into patches. What its towers derive
from the grid is derived here: where each patch lies, which window of the attention it is in, and which positions of a
learned table it is between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clasp_trt.bundle.media import Grid
from clasp_trt.chain import port
from clasp_trt.errors import ImageError
from clasp_trt.runtime.media.processors.pixels import resampling, scaled, to_rgb
from clasp_trt.runtime.media.seen import Block, Seen

Indices = NDArray[np.int64]


class GridProcessor:
    """See :class:`clasp_trt.bundle.media.Grid`. Patches are in the order of the tokens that they become: all of one
    block, row by row, then those of the next.

    The vision graph takes ``patches`` ``[frames, patches, values]``, the values of each in order of channel, frame, row
    and column, and ``positions`` int64 ``[2, patches]``, the row and column of each.
    """

    def __init__(self, record: Grid) -> None:
        self._record, self._patching = record, record.patching
        self._resample = resampling(record.resample)

    def count(self, height: int, width: int) -> int:
        try:
            return self._patching.count(height, width)
        except ValueError as error:
            raise ImageError(f"the image is {error}; crop it") from None

    def __call__(self, image: Image.Image) -> Seen:
        image = to_rgb(image)
        self.count(image.height, image.width)
        return self.at(self._patching.resized(image.height, image.width), [image] * self._record.time)

    def at(self, size: tuple[int, int], frames: Sequence[Image.Image]) -> Seen:
        """What becomes of as many ``frames`` as a patch is deep, at that height and width in pixels, whole blocks."""
        views = {id(each): to_rgb(each).resize(size[::-1], resample=self._resample) for each in frames}
        record = self._record
        values = {key: scaled(np.asarray(view), record.rescale, record.mean, record.std) for key, view in views.items()}
        patches = self._patches(np.stack([values[id(each)] for each in frames], axis=1))
        vision = {port.PATCHES: patches[None], **self._places(*size)}
        return Seen(vision, {}, (self._block(*size),), views[id(frames[0])])

    def _patches(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 ``[patches, values]`` of frames ``[channels, time, height, width]``."""
        patch, merge = self._record.patch, self._record.merge
        channels, time, height, width = values.shape
        rows, columns = height // patch // merge, width // patch // merge
        parts = values.reshape(channels, time, rows, merge, patch, columns, merge, patch)
        found: NDArray[np.float32] = parts.transpose(2, 5, 3, 6, 0, 1, 4, 7).reshape(rows * columns * merge**2, -1)
        return found

    def _places(self, tall: int, wide: int) -> dict[str, NDArray[Any]]:
        """What the tower takes besides pixels, of a picture of that height and width."""
        shape = tall // self._record.patch, wide // self._record.patch
        row, column = (self._in_order(axis) for axis in np.indices(shape))
        found: dict[str, NDArray[Any]] = {port.POSITIONS: np.stack([row, column])}
        if self._record.window is not None:
            found.update(_windows(row, column, self._record.window))
        if self._record.table is not None:
            found.update(_taps(row, column, shape, self._record.table))
        return found

    def _in_order(self, values: Indices) -> Indices:
        """``[rows, columns]`` of patches to ``[patches]`` in the order of blocks."""
        merge = self._record.merge
        rows, columns = (side // merge for side in values.shape)
        ordered: Indices = values.reshape(rows, merge, columns, merge).transpose(0, 2, 1, 3).reshape(-1)
        return ordered

    def _block(self, tall: int, wide: int) -> Block:
        side = self._patching.block
        rows, columns = tall // side, wide // side
        top, left = (axis.reshape(-1) for axis in np.indices((rows, columns)))
        boxes = np.stack([left, top, left + 1, top + 1], axis=1) * side
        return Block(rows * columns, (1, rows, columns), boxes.astype(np.float32))


def _windows(row: Indices, column: Indices, side: int) -> dict[str, NDArray[Any]]:
    """Windows of ``side`` by ``side`` slots, in raster order: which patch lies in each slot and whether one does, and
    in which slot of all windows each patch lies. Windows at the right and below may have slots to spare."""
    down, across = row // side, column // side
    window = down * (across.max() + 1) + across
    by_window = np.argsort(window, kind="stable")
    filled = np.bincount(window)
    first = np.cumsum(filled) - filled
    slot = np.empty_like(window)
    slot[by_window] = window[by_window] * side**2 + np.arange(len(window)) - first[window[by_window]]
    rows, valid = np.zeros(len(filled) * side**2, np.int64), np.zeros(len(filled) * side**2, np.bool_)
    rows[slot], valid[slot] = np.arange(len(window)), True
    return {port.WINDOW_ROWS: rows, port.WINDOW_VALID: valid.reshape(-1, side**2), port.ROW_SLOTS: slot}


def _taps(row: Indices, column: Indices, shape: tuple[int, int], side: int) -> dict[str, NDArray[Any]]:
    """The four positions of a table of ``side`` by ``side`` that each patch is between, and the weight of each."""
    (down, near), (across, close) = _between(row, shape[0], side), _between(column, shape[1], side)
    index = down[:, :, None] * side + across[:, None]
    weight = near[:, :, None] * close[:, None]
    return {port.TABLE_INDEX: index.reshape(-1, 4), port.TABLE_WEIGHT: weight.reshape(-1, 4)}


def _between(place: Indices, length: int, side: int) -> tuple[Indices, NDArray[np.float32]]:
    """Places ``[patches]`` of an axis of ``length`` on one of ``side``, ends upon ends: the two there that each lies
    between ``[patches, 2]``, and their weights. In float32, as in ``transformers``."""
    exact = place.astype(np.float32) * np.float32(side - 1) / np.float32(max(length - 1, 1))
    lower = np.floor(exact)
    taps = lower.astype(np.int64)[:, None] + np.arange(2)
    weights = 1 - np.abs(exact[:, None] - lower[:, None] - np.arange(2, dtype=np.float32))
    return np.minimum(taps, side - 1), np.maximum(weights, np.float32(0))
