"""A prune stage computed from its definition: :mod:`clasp_trt.ops`, and plain indexing for the rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.chain import port
from clasp_trt.ops import pivot_select, spherical_kmeans


def prune(feed: Mapping[str, NDArray[Any]], keep: int, *, last: bool) -> dict[str, NDArray[Any]]:
    """All outputs of a prune graph that keeps ``keep`` tokens; the ``last`` stage narrows nothing for another."""
    pivots = pivot_select(feed[port.SALIENCY], feed[port.PIVOT_COUNT], keep)
    kept, is_pivot = spherical_kmeans(feed[port.GRAM], pivots, keep)
    visual, chosen = feed[port.VISUAL_INDEX], kept[0]
    stays = np.ones(feed[port.POSITION_IDS].shape[-1], dtype=np.bool_)
    stays[np.delete(visual, chosen)] = False
    found = {
        port.KEPT: kept,
        port.IS_PIVOT: is_pivot,
        port.HIDDEN_OUT: feed[port.HIDDEN][:, stays],
        port.out(port.POSITION_IDS): feed[port.POSITION_IDS][..., stays],
    }
    if port.VISIBLE in feed:
        found[port.out(port.VISIBLE)] = _seen(feed[port.VISIBLE], stays)
    new_row = np.cumsum(stays) - 1
    if port.DEEPSTACK in feed:
        found[port.out(port.DEEPSTACK)] = feed[port.DEEPSTACK][:, chosen]
        found[port.out(port.VISUAL_INDEX)] = new_row[visual[chosen]]
    if not last:
        found[port.out(port.GRAM)] = feed[port.GRAM][:, chosen][:, :, chosen]
        found[port.out(port.VISUAL_INDEX)] = new_row[visual[chosen]]
        found[port.out(port.REFERENCE_INDEX)] = new_row[feed[port.REFERENCE_INDEX]]
    return found


def _seen(visible: NDArray[np.int64], stays: NDArray[np.bool_]) -> NDArray[np.int64]:
    """What each row that stays sees, counted among those that stay: row by row, from the definition."""
    (first,), (end,) = visible
    rows = np.flatnonzero(stays)
    counted = [[int(stays[: first[row]].sum()), int(stays[: end[row]].sum())] for row in rows]
    seen: NDArray[np.int64] = np.array(counted).T[:, None]
    return seen
