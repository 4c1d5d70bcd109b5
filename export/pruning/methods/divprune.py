"""DivPrune: the greedy max-min subset, see :mod:`clasp_trt.methods.divprune`.

Similarities lie in [-1, 1]; in the row that says how near each token is to those chosen, what is invalid has
:data:`INVALID` and what is chosen :data:`CHOSEN`, which no similarity exceeds.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from clasp_trt.chain import port
from clasp_trt.export.graph import GraphBuilder
from clasp_trt.export.pruning.methods.ranking import among, none_is, valid
from clasp_trt.export.pruning.sizes import Sizes

ALONE, INVALID, CHOSEN = -2.0, 4.0, 8.0


def body(g: GraphBuilder, sizes: Sizes, read: Mapping[str, ir.Value]) -> tuple[ir.Value, ir.Value]:
    """One token after the other, each the first of those farthest from the nearest that is chosen (Eq. 3)."""
    gram, numbers = read[port.GRAM], sizes.tokens(g, 0)
    itself = g.op("Equal", sizes.tokens(g, 0, 2), sizes.tokens(g, 0, 1))
    usable = valid(g, sizes, gram)
    others = g.op("And", g.op("Not", itself), g.op("Unsqueeze", usable, g.const([1])))
    nearest = g.op("ReduceMax", g.op("Where", others, gram, g.const(ALONE, "float32")), g.const([-1]), keepdims=0)

    def choose(h: GraphBuilder, closest: ir.Value, before: ir.Value | None) -> ir.Value:
        pick = h.op("ArgMin", closest, axis=1, keepdims=1)
        row = h.op("Gather", gram, h.op("Squeeze", pick, h.const([0, 1])), axis=1)
        nearer = h.op("Where", usable, row, h.const(INVALID, "float32")) if before is None else h.op("Max", before, row)
        return h.op("Where", h.op("Equal", numbers, pick), h.const(CHOSEN, "float32"), nearer)

    first = choose(g, g.op("Where", usable, nearest, g.const(INVALID, "float32")), None)
    more = g.op("Sub", sizes.keep(g), g.const(1))
    closest = g.loop("each", more, first, lambda h, closest: choose(h, closest, closest))
    kept = among(g, sizes, g.op("Greater", closest, g.const((INVALID + CHOSEN) / 2, "float32")))
    return kept, none_is(g, kept)
