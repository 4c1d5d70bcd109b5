"""Which rows of a prompt each of its rows sees, one function for each kind that a manifest may name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def blocks(rows: int, visual_index: Indices, window: int | None) -> Indices:
    """The rows up to itself and, of visual tokens that follow one another, all of them; in a window as many as it
    holds up to itself."""
    own = np.arange(rows)
    is_visual = np.zeros(rows + 1, np.bool_)
    is_visual[visual_index] = True
    # of each row the next one that holds no visual token: of a text that is itself
    following = np.flatnonzero(~is_visual)
    end = np.maximum(following[np.searchsorted(following, own)], own + 1)
    first = np.zeros(rows, np.int64) if window is None else np.maximum(own - window + 1, 0)
    return np.stack([first, end])


def prefix(rows: int, visual_index: Indices, window: int | None) -> Indices:
    """All rows of the prompt, whatever the window: that is for what follows."""
    return np.stack([np.zeros(rows, np.int64), np.full(rows, rows)])


KINDS: Mapping[str, Callable[[int, Indices, int | None], Indices]] = MappingProxyType(
    {"blocks": blocks, "prefix": prefix}
)
"""By what :class:`clasp_trt.bundle.DecoderDims` says, where that is more than causal."""


def visible(kind: str, rows: int, visual_index: Indices, window: int | None) -> Indices | None:
    """First row and end of what each of ``rows`` rows sees, int64 ``[2, 1, rows]``, ``visual_index`` int64 ``[tokens]``
    being those of visual tokens; None where each sees those up to itself. The first counts in a window alone."""
    return None if kind not in KINDS else KINDS[kind](rows, visual_index, window)[:, None]


def narrowed(visible: Indices, stays: NDArray[np.bool_]) -> Indices:
    """First row and end int64 ``[2, 1, rows]`` of what each row sees, among those of ``rows`` that stay."""
    before = np.concatenate([[0], np.cumsum(stays)])  # how many stay before each row, and before the end
    moved: Indices = before[visible][:, :, stays]
    return moved


class Sight:
    """What the rows of a step see of one cache, whose places hold rows at ascending ``positions`` int64 ``[filled]``
    and then, from ``next_position`` on, those of the answer."""

    def __init__(self, positions: Indices, next_position: int, window: int | None) -> None:
        self._positions, self._next, self._window = positions, next_position, window

    def of(self, position: int, rows: int = 1) -> Indices:
        """First place and end int64 ``[2, 1, rows]`` for the last rows, the first of which is at ``position``."""
        placed = np.arange(position, position + rows)
        end = len(self._positions) + placed - self._next + 1
        first = np.zeros(rows, np.int64)
        if self._window is not None:
            lost = placed - self._window  # the last position that is out of the window
            first = np.searchsorted(self._positions, lost, "right") + np.maximum(0, lost - self._next + 1)
        return np.stack([first, end])[:, None]
