"""Bilinear resizing of rows and columns, as indices and weights that a graph gathers by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def bilinear(rows: NDArray[np.int64], height: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """What ``height`` by ``width`` places are mixed of, where ``rows`` ``[rows, columns]`` numbers those there are:
    four numbers and their weights each, ``[height, width, 4]``, as torch's ``interpolate`` without aligned corners."""
    down, across = _taps(height, rows.shape[0]), _taps(width, rows.shape[1])
    index = rows[down[0][:, None, :, None], across[0][None, :, None, :]]
    weight = down[1][:, None, :, None] * across[1][None, :, None, :]
    return index.reshape(height, width, 4), weight.reshape(height, width, 4)


def unmixed(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The same of tokens that are each one of ``rows`` ``[tokens]``: ``[tokens, 4]``."""
    weight = np.zeros((len(rows), 4), np.float32)
    weight[:, 0] = 1
    return np.repeat(rows[:, None], 4, axis=1), weight


def _taps(count: int, side: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Of each of ``count`` places along an axis of ``side``, the two that it lies between, and how near it is to each:
    ``[count, 2]``."""
    scale = np.float32(side / max(count, 1))
    places = np.maximum((np.arange(count, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5), 0)
    low = np.minimum(places.astype(np.int64), side - 1)
    rest = (places - low).astype(np.float32)
    return np.stack([low, np.minimum(low + 1, side - 1)], axis=1), np.stack([1 - rest, rest], axis=1)
