"""A prune stage computed from its definition: :mod:`clasp_trt.ops`, and plain indexing for the rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.ops import pivot_select, spherical_kmeans


def prune(feed: Mapping[str, NDArray[Any]], keep: int, *, last: bool) -> dict[str, NDArray[Any]]:
    """All outputs of a prune graph that keeps ``keep`` tokens; the ``last`` stage narrows nothing for another."""
    pivots = pivot_select(feed["saliency"], feed["pivot_count"], keep)
    kept, is_pivot = spherical_kmeans(feed["gram"], pivots, keep)
    visual, chosen = feed["visual_index"], kept[0]
    stays = np.ones(feed["position_ids"].shape[1], dtype=np.bool_)
    stays[np.delete(visual, chosen)] = False
    found = {
        "kept": kept,
        "is_pivot": is_pivot,
        "hidden_out": feed["hidden"][:, stays],
        "position_ids_out": feed["position_ids"][:, stays],
    }
    if not last:
        new_row = np.cumsum(stays) - 1
        found["gram_out"] = feed["gram"][:, chosen][:, :, chosen]
        found["visual_index_out"] = new_row[visual[chosen]]
        found["reference_index_out"] = new_row[feed["reference_index"]]
    return found
