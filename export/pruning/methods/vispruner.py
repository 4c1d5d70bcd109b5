"""VisPruner: what [CLS] attends to, and of the rest what has no double, see :mod:`clasp_trt.methods.vispruner`.

The order of a turn is a row that has the place of each token in it, and :data:`GONE` for one that has none.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from clasp_trt.chain import port
from clasp_trt.export.graph import GraphBuilder
from clasp_trt.export.pruning.methods.ranking import among, numbered, valid
from clasp_trt.export.pruning.sizes import Sizes
from clasp_trt.methods.vispruner import AT_ONCE, IMPORTANT, NOTHING

GONE = float(1 << 23)
FEW = 5
"""Turns after which nothing is left to go of fewer than twice :data:`AT_ONCE`: each takes half."""


def body(g: GraphBuilder, sizes: Sizes, read: Mapping[str, ir.Value]) -> tuple[ir.Value, ir.Value]:
    """Turns are counted before the first; one that comes when enough went takes nothing."""
    saliency, gram, keep = read[port.CLS_SALIENCY], read[port.GRAM], sizes.keep(g)
    usable = valid(g, sizes, gram)
    score = g.op("Where", usable, numbered(g, saliency), g.const(-np.inf, "float32"))
    tokens, numbers = g.op("Shape", saliency, start=-1), g.cast(sizes.tokens(g, 0), "float32")
    place = _places(g, score, tokens, numbers)
    count = g.op("Div", g.op("Mul", keep, g.const([IMPORTANT.numerator])), g.const([IMPORTANT.denominator]))
    important = g.op("Less", place, g.cast(count, "float32"))

    gone, wanted = g.const(GONE, "float32"), g.cast(g.op("Sub", keep, count), "float32")
    rest = g.op("And", usable, g.op("Not", important))
    start = g.op("Where", rest, g.op("Sub", place, g.cast(count, "float32")), gone)

    def turn(h: GraphBuilder, at: ir.Value) -> ir.Value:
        one, two = h.const(1.0, "float32"), h.const(2.0, "float32")
        there = h.op("Less", at, gone)
        half = h.op("Floor", h.op("Div", at, two))
        second = h.op("Greater", h.op("Sub", at, h.op("Mul", half, two)), h.const(0.5, "float32"))
        those = h.op("And", there, second)
        these = h.op("And", there, h.op("Not", second))
        near = h.op("Where", h.op("Unsqueeze", those, h.const([1])), gram, h.const(NOTHING, "float32"))
        apart = h.op("Neg", h.op("ReduceMax", near, h.const([-1]), keepdims=0))
        apart = h.op("Where", these, apart, h.const(-np.inf, "float32"))
        here, others = (h.op("ReduceSum", h.cast(each, "float32"), keepdims=1) for each in (these, those))
        spare = h.op("Max", h.op("Sub", h.op("Add", here, others), wanted), h.const(0.0, "float32"))
        fewer = h.op("Min", h.op("Min", spare, here), h.const(float(AT_ONCE), "float32"))
        alike = h.op("Sub", h.op("Sub", here, one), _places(h, apart, tokens, numbers))
        alike = h.op("Sub", alike, fewer)
        kept = h.op("And", these, h.op("GreaterOrEqual", alike, h.const(0.0, "float32")))
        after = h.op("Add", h.op("Sub", here, fewer), half)
        return h.op("Where", kept, alike, h.op("Where", those, after, gone))

    turns = g.op("Add", g.op("Div", sizes.dropped(g), g.const([AT_ONCE])), g.const([FEW]))
    apart = g.op("Less", g.loop("turn", turns, start, turn), gone)
    # what has no direction comes last of all, in the order that it has
    first = g.op("Where", g.op("Or", important, apart), g.const(-1.0, "float32"), place)
    last = _places(g, g.op("Neg", first), tokens, numbers)
    kept = among(g, sizes, g.op("Less", last, g.cast(keep, "float32")))
    return kept, g.op("GatherElements", important, kept, axis=1)


def _places(g: GraphBuilder, score: ir.Value, tokens: ir.Value, numbers: ir.Value) -> ir.Value:
    """The place of each token among all by ``score`` float32 ``[1, tokens]``, highest first, in its type and shape."""
    order = g.ops("TopK", score, tokens, outputs=2, axis=-1, largest=1, sorted=1)[1]
    return g.op("ScatterElements", score, order, numbers, axis=1)
