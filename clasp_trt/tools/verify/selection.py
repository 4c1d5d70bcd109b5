"""A prune stage computed from its definition: :mod:`clasp_trt.methods`, and plain indexing for the rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.chain import port
from clasp_trt.methods import View, get


def prune(
    feed: Mapping[str, NDArray[Any]], keep: int, method: str, pivot_count: int, *, last: bool
) -> dict[str, NDArray[Any]]:
    """All outputs of a prune graph of ``method`` that keeps ``keep`` tokens, ``pivot_count`` as pivots; the ``last``
    stage narrows nothing for another."""
    visual = feed[port.VISUAL_INDEX]
    chosen, marks = get(method).select(_view(feed, len(visual), keep, pivot_count))
    stays = np.ones(feed[port.POSITION_IDS].shape[-1], dtype=np.bool_)
    stays[np.delete(visual, chosen)] = False
    found = {
        port.KEPT: chosen[None],
        port.IS_PIVOT: marks[None],
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
        found[port.out(port.VISUAL_INDEX)] = new_row[visual[chosen]]
        if port.GRAM in feed:
            found[port.out(port.GRAM)] = feed[port.GRAM][:, chosen][:, :, chosen]
        if port.CLS_SALIENCY in feed:
            found[port.out(port.CLS_SALIENCY)] = feed[port.CLS_SALIENCY][:, chosen]
        if port.REFERENCE_INDEX in feed:
            found[port.out(port.REFERENCE_INDEX)] = new_row[feed[port.REFERENCE_INDEX]]
    return found


def _view(feed: Mapping[str, NDArray[Any]], tokens: int, keep: int, pivot_count: int) -> View:
    """What the method may look at: 0 where the graph is not given it, since it does not read it then."""
    of = {name: feed[name][0] for name in (port.SALIENCY, port.GRAM, port.CLS_SALIENCY) if name in feed}
    nothing = np.zeros(tokens, np.float32)
    return View(
        saliency=of.get(port.SALIENCY, nothing),
        gram=of.get(port.GRAM, np.zeros((tokens, tokens), np.float32)),
        cls_saliency=of.get(port.CLS_SALIENCY, nothing),
        boxes=np.zeros((tokens, 4), np.float32),
        extent=(0, 0, 0, 0),
        keep=keep,
        pivot_count=pivot_count,
        stage=0,
    )


def _seen(visible: NDArray[np.int64], stays: NDArray[np.bool_]) -> NDArray[np.int64]:
    """What each row that stays sees, counted among those that stay: row by row, from the definition."""
    (first,), (end,) = visible
    rows = np.flatnonzero(stays)
    counted = [[int(stays[: first[row]].sum()), int(stays[: end[row]].sum())] for row in rows]
    seen: NDArray[np.int64] = np.array(counted).T[:, None]
    return seen
