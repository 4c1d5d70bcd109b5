"""Whether the integers of each layer are those that its scheme makes of the checkpoint's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from clasp_trt.bundle import Graph, Segment
from clasp_trt.tools.verify.report import Check

_TOLERANCE = 1 + 512 * float(np.finfo(np.float32).eps)
"""Of what a scheme allows. A weight over its scale is up to 127 and rounded in float32, and so is what the integer
stands for: two errors of up to 127 half units in the last place, over the half step that is allowed."""


def stepped(graph: Graph, segment: Segment, steps: Mapping[str, float]) -> Iterator[Check]:
    """A check of each layer of a segment, by the matrix that is the furthest off; ``steps`` has their errors, over what
    is allowed there, by their names."""
    for layer in range(segment.first_layer, segment.last_layer + 1):
        start = f"layers.{layer}."
        found = {name: error for name, error in steps.items() if name.startswith(start)}
        if found:
            worst = max(found, key=lambda name: found[name])
            name, error = worst.removeprefix(start).removesuffix(".weight"), found[worst]
            yield Check(graph.name, f"layer {layer} weights ({name})", graph.path, error, error, 1.0, _TOLERANCE)
