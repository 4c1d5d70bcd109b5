"""DART: a few pivots and the tokens that duplicate them least, see :mod:`clasp_trt.methods.dart`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from clasp_trt.chain import port
from clasp_trt.export.graph import GraphBuilder
from clasp_trt.export.pruning.methods.ranking import among, best, first, numbered, valid
from clasp_trt.export.pruning.sizes import Sizes
from clasp_trt.methods.dart import PIVOTS

INVALID, TAKEN = 4.0, 8.0
"""Among similarities in [-1, 1], of which the lowest comes first."""


def body(g: GraphBuilder, sizes: Sizes, read: Mapping[str, ir.Value]) -> tuple[ir.Value, ir.Value]:
    """As many as :data:`~clasp_trt.methods.dart.PIVOTS` take turns; where shares cannot be equal, the more salient
    take one token more."""
    saliency, gram, keep = read[port.SALIENCY], read[port.GRAM], sizes.keep(g)
    usable = valid(g, sizes, gram)
    order = best(g, sizes, g.op("Where", usable, numbered(g, saliency), g.const(-np.inf, "float32")))
    pivots = g.op("Min", keep, g.const([PIVOTS]))
    is_pivot = first(g, sizes, order, pivots, saliency)

    taken, more = is_pivot, g.op("Sub", keep, pivots)
    even, odd = g.op("Div", more, pivots), g.op("Mod", more, pivots)
    for number in range(PIVOTS):
        there = g.op("Less", g.const([number]), pivots)
        share = g.op("Add", even, g.cast(g.op("Less", g.const([number]), odd), "int64"))
        share = g.op("Where", there, share, g.const([0]))
        last = g.op("Min", g.op("Sub", keep, g.const([1])), g.const([number]))
        pivot = g.op("Squeeze", g.op("Gather", order, last, axis=1), g.const([0, 1]))
        duplicates = g.op("Where", usable, g.op("Gather", gram, pivot, axis=1), g.const(INVALID, "float32"))
        left = g.op("Neg", g.op("Where", taken, g.const(TAKEN, "float32"), duplicates))
        taken = g.op("Or", taken, first(g, sizes, best(g, sizes, left), share, saliency))
    kept = among(g, sizes, taken)
    return kept, g.op("GatherElements", is_pivot, kept, axis=1)
