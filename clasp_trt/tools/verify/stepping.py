"""A segment's last row as a decode step, behind what the rows before it left in the caches."""

from __future__ import annotations

from typing import Any

import numpy as np

from clasp_trt.bundle import Bundle, Graph
from clasp_trt.chain import port
from clasp_trt.runtime.backends.interface import Backend
from clasp_trt.tools.profile.runner import GraphRunner
from clasp_trt.tools.verify.runners import Arrays


def as_step(backend: Backend[Any], bundle: Bundle, graph: Graph, feed: Arrays, last: int) -> Arrays:
    """The outputs of row ``last`` as a decode step: all rows before it are in the caches already."""
    hidden, positions = feed[port.HIDDEN], feed[port.POSITION_IDS]
    sliced = {
        port.HIDDEN: (hidden[:, :last], hidden[:, last:]),
        port.POSITION_IDS: (positions[..., :last], positions[..., last:]),
    }
    if port.VISIBLE in feed:
        sliced[port.VISIBLE] = feed[port.VISIBLE][..., :last], feed[port.VISIBLE][..., last:]
    rows = {name: feed[name] for name in (port.VISUAL_INDEX, port.REFERENCE_INDEX) if name in feed}
    if port.DEEPSTACK in feed:
        stacked, count = feed[port.DEEPSTACK], int((feed[port.VISUAL_INDEX] < last).sum())
        sliced[port.DEEPSTACK] = stacked[:, :count], stacked[:, count:]
    with GraphRunner(backend, bundle.path(graph.path), graph) as runner:
        scored = {port.SCORED: np.zeros(1, np.int64)} if port.SCORED in feed else {}
        prefill = {
            **feed,
            **scored,
            **{name: before for name, (before, _) in sliced.items()},
            **{name: index[index < last] for name, index in rows.items()},
            port.KV_LENGTH: np.array([last]),
        }
        caches = runner.infer(prefill, check_inputs=False)
        step = {
            **{name: caches[port.present_of(name)] for name in feed if port.is_past(name)},
            **{name: row for name, (_, row) in sliced.items()},
            **{name: index[:0] for name, index in rows.items()},
            **scored,
            port.WRITE_INDEX: np.array([last]),
            port.KV_LENGTH: np.array([last + 1]),
        }
        found: Arrays = runner.infer(step, check_inputs=False)
        return found


def last_unseen(feed: Arrays) -> Arrays:
    """The same but for rows that see the last one, which is then a step of its own: they see those before it."""
    visible = feed.get(port.VISIBLE)
    last = feed[port.HIDDEN].shape[1] - 1
    if visible is None or (visible[1, :, :last] <= last).all():
        return feed
    end = np.concatenate([np.minimum(visible[1:, :, :last], last), visible[1:, :, last:]], axis=2)
    return {**feed, port.VISIBLE: np.concatenate([visible[:1], end])}
