"""The rotary positions of a prompt's rows, one function for each kind that a manifest may name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.bundle.media import Sequential
from clasp_trt.runtime.media.seen import Block

Positions = tuple[NDArray[np.int64], int]
"""int64 ``[axes, rows]``, and the position of the first row after them, on every axis."""


def sequential(kind: Sequential, rows: int, blocks: Sequence[Block], visual_index: NDArray[np.int64]) -> Positions:
    """One axis, which counts all rows alike."""
    following = kind.start + rows
    return np.arange(kind.start, following)[None], following


KINDS: Mapping[str, Callable[[Any, int, Sequence[Block], NDArray[np.int64]], Positions]] = MappingProxyType(
    {Sequential.kind: sequential}
)
"""By the kind of the record in :mod:`clasp_trt.bundle.media`."""


def positions(kind: Sequential, rows: int, blocks: Sequence[Block], visual_index: NDArray[np.int64]) -> Positions:
    """The positions of ``rows`` rows, of which ``visual_index`` int64 ``[tokens]`` are those of ``blocks`` in order."""
    return KINDS[kind.kind](kind, rows, blocks, visual_index)
