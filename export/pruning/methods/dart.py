"""DART: a few pivots and the tokens that duplicate them least, see :mod:`clasp_trt.methods.dart`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from clasp_trt.chain import port
from clasp_trt.export.graph import GraphBuilder
from clasp_trt.export.pruning.methods.ranking import among, best, first
from clasp_trt.export.pruning.sizes import Sizes
from clasp_trt.methods.dart import PIVOTS

INVALID, TAKEN = 4.0, 8.0
"""Among similarities in [-1, 1], of which the lowest comes first."""


def body(g: GraphBuilder, sizes: Sizes, read: Mapping[str, ir.Value]) -> tuple[ir.Value, ir.Value]:
    """As many as :data:`~clasp_trt.methods.dart.PIVOTS` take turns; where shares cannot be equal, the more salient
    take one token more."""
    saliency, gram, keep = read[port.SALIENCY], read[port.GRAM], sizes.keep(g)
    itself = g.op("Equal", sizes.tokens(g, 0, 2), sizes.tokens(g, 0, 1))
    diagonal = g.op("ReduceSum", g.op("Where", itself, gram, g.const(0.0, "float32")), g.const([-1]), keepdims=0)
    valid = g.op("Greater", diagonal, g.const(0.5, "float32"))

    least = g.const(np.finfo(np.float32).min, "float32")  # of a token that is valid, if its saliency is no number
    score = g.op("Max", g.op("Where", g.op("IsNaN", saliency), least, saliency), least)
    order = best(g, sizes, g.op("Where", valid, score, g.const(-np.inf, "float32")))
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
        duplicates = g.op("Where", valid, g.op("Gather", gram, pivot, axis=1), g.const(INVALID, "float32"))
        left = g.op("Neg", g.op("Where", taken, g.const(TAKEN, "float32"), duplicates))
        taken = g.op("Or", taken, first(g, sizes, best(g, sizes, left), share, saliency))
    kept = among(g, sizes, taken)
    return kept, g.op("GatherElements", is_pivot, kept, axis=1)
