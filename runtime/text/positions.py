"""The rotary positions of a prompt's rows, one function for each kind that a manifest may name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.bundle import media
from clasp_trt.bundle.media import Sequential, Spatial
from clasp_trt.runtime.media.seen import Block

Positions = tuple[NDArray[np.int64], int]
"""int64 ``[axes, rows]``, and the position of the first row after them, on every axis."""


def sequential(kind: Sequential, rows: int, blocks: Sequence[Block], visual_index: NDArray[np.int64]) -> Positions:
    """One axis, which counts all rows alike."""
    following = kind.start + rows
    return np.arange(kind.start, following)[None], following


def spatial(kind: Spatial, rows: int, blocks: Sequence[Block], visual_index: NDArray[np.int64]) -> Positions:
    """Three axes: time, row and column in the picture. Text counts on all three."""
    found, row, following, seen = np.empty((3, rows), np.int64), 0, 0, 0
    for block in blocks:
        first = int(visual_index[seen])
        found[:, row:first] = np.arange(following, following + first - row)
        following += first - row
        row, seen = first + block.tokens, seen + block.tokens
        places = np.indices(block.grid).reshape(3, -1)
        places[0] = _times(kind, block)[places[0]]
        found[:, first:row] = following + places
        following += max(block.grid[1:])
    found[:, row:] = np.arange(following, following + rows - row)
    return found, int(found.max(initial=-1)) + 1  # the last frame of a clip may be later than the text after it


def _times(kind: Spatial, block: Block) -> NDArray[np.int64]:
    """The position of each frame of ``block``, counted from its first. In float32, as in ``transformers``."""
    frames = np.arange(block.grid[0])
    if kind.rate is None or block.seconds is None:
        return frames
    apart = np.float32(kind.rate) * np.float32(block.seconds)
    times: NDArray[np.int64] = (frames.astype(np.float32) * apart).astype(np.int64)
    return times


KINDS: Mapping[str, Callable[[Any, int, Sequence[Block], NDArray[np.int64]], Positions]] = MappingProxyType(
    {Sequential.kind: sequential, Spatial.kind: spatial}
)
"""By the kind of the record in :mod:`clasp_trt.bundle.media`."""


def positions(kind: media.Positions, rows: int, blocks: Sequence[Block], visual_index: NDArray[np.int64]) -> Positions:
    """The positions of ``rows`` rows, of which ``visual_index`` int64 ``[tokens]`` are those of ``blocks`` in order."""
    return KINDS[kind.kind](kind, rows, blocks, visual_index)
