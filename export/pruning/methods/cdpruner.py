"""CDPruner: a greedy maximum of the determinant of relevant similarities, see :mod:`clasp_trt.methods.cdpruner`."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from clasp_trt.chain import port
from clasp_trt.export.graph import GraphBuilder
from clasp_trt.export.pruning.methods.ranking import among, none_is, valid
from clasp_trt.export.pruning.sizes import Sizes
from clasp_trt.methods.cdpruner import CHOSEN, FAR, INVALID, LEAST


def body(g: GraphBuilder, sizes: Sizes, read: Mapping[str, ir.Value]) -> tuple[ir.Value, ir.Value]:
    """The same products, quotients and differences as the definition, one token after the other."""
    gram, numbers = read[port.GRAM], sizes.tokens(g, 0)
    itself = g.op("Equal", sizes.tokens(g, 0, 2), sizes.tokens(g, 0, 1))
    zero, one, least = (g.const(float(each), "float32") for each in (0, 1, LEAST))
    usable = valid(g, sizes, gram)
    relevance = g.op("Add", _share(g, read[port.SALIENCY], usable), least)
    products = g.op("Mul", g.op("Unsqueeze", relevance, g.const([2])), g.op("Unsqueeze", relevance, g.const([1])))
    useless = g.op("And", itself, g.op("Not", g.op("Unsqueeze", usable, g.const([1]))))
    kernel = g.op("Where", useless, g.const(float(INVALID), "float32"), g.op("Mul", products, gram))

    def take(h: GraphBuilder, left: ir.Value) -> ir.Value:
        volume = h.op("ReduceSum", h.op("Where", itself, left, zero), h.const([-1]), keepdims=0)
        pick = h.op("ArgMax", volume, axis=1, keepdims=1)
        number = h.op("Squeeze", pick, h.const([0, 1]))
        own = h.op("Gather", volume, number, axis=1)
        counts = h.op("Greater", own, least)
        row = h.op("Where", counts, h.op("Gather", left, number, axis=1), zero)
        outer = h.op("Mul", h.op("Unsqueeze", row, h.const([2])), h.op("Unsqueeze", row, h.const([1])))
        after = h.op("Sub", left, h.op("Div", outer, h.op("Where", counts, own, one)))
        taken = h.op("And", itself, h.op("Unsqueeze", h.op("Equal", numbers, pick), h.const([1])))
        return h.op("Where", taken, h.const(float(CHOSEN), "float32"), after)

    left = g.loop("take", sizes.keep(g), kernel, take)
    marks = g.op("ReduceSum", g.op("Where", itself, left, zero), g.const([-1]), keepdims=0)
    kept = among(g, sizes, g.op("Less", marks, g.const(float(INVALID + CHOSEN) / 2, "float32")))
    return kept, none_is(g, kept)


def _share(g: GraphBuilder, saliency: ir.Value, usable: ir.Value) -> ir.Value:
    """Of the way from the least to the greatest saliency of a usable token, 0 to 1; 1 where all are equal, 0 of what is
    not usable."""
    far, near = g.const(float(FAR), "float32"), g.const(-float(FAR), "float32")
    known = g.op("Min", g.op("Max", g.op("Where", g.op("IsNaN", saliency), near, saliency), near), far)
    low = g.op("ReduceMin", g.op("Where", usable, known, far), keepdims=1)
    span = g.op("Sub", g.op("ReduceMax", g.op("Where", usable, known, near), keepdims=1), low)
    one, zero = g.const(1.0, "float32"), g.const(0.0, "float32")
    spans = g.op("Greater", span, zero)
    share = g.op("Div", g.op("Sub", known, low), g.op("Where", spans, span, one))
    return g.op("Where", usable, g.op("Where", spans, share, one), zero)
