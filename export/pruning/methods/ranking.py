"""What several bodies are made of: ranks, ascending indices, marks."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from clasp_trt.export.graph import GraphBuilder
from clasp_trt.export.pruning.sizes import Sizes


def known(g: GraphBuilder, score: ir.Value) -> ir.Value:
    """``score`` with NaN as minus infinity."""
    return g.op("Where", g.op("IsNaN", score), g.const(-np.inf, "float32"), score)


def numbered(g: GraphBuilder, score: ir.Value) -> ir.Value:
    """``score`` with NaN and minus infinity as the least number, so that whatever is less is no token's score."""
    least = g.const(np.finfo(np.float32).min, "float32")
    return g.op("Max", g.op("Where", g.op("IsNaN", score), least, score), least)


def valid(g: GraphBuilder, sizes: Sizes, gram: ir.Value) -> ir.Value:
    """bool ``[1, tokens]``: tokens that have a direction, whose similarity with themselves is not 0."""
    itself = g.op("Equal", sizes.tokens(g, 0, 2), sizes.tokens(g, 0, 1))
    diagonal = g.op("ReduceSum", g.op("Where", itself, gram, g.const(0.0, "float32")), g.const([-1]), keepdims=0)
    return g.op("Greater", diagonal, g.const(0.5, "float32"))


def best(g: GraphBuilder, sizes: Sizes, score: ir.Value) -> ir.Value:
    """The ``keep`` tokens of the highest ``score`` float32 ``[1, tokens]``, best first, int64 ``[1, keep]``."""
    return g.ops("TopK", score, sizes.keep(g), outputs=2, axis=-1, largest=1, sorted=1)[1]


def ascending(g: GraphBuilder, sizes: Sizes, chosen: ir.Value) -> ir.Value:
    """``chosen`` int64 ``[1, keep]`` in ascending order: float32 holds every index exactly."""
    numbers = g.cast(chosen, "float32")
    ordered, _ = g.ops("TopK", numbers, sizes.keep(g), outputs=2, axis=-1, largest=0, sorted=1)
    return g.cast(ordered, "int64")


def among(g: GraphBuilder, sizes: Sizes, marks: ir.Value) -> ir.Value:
    """The ``keep`` tokens that ``marks`` bool ``[1, tokens]`` has, ascending, int64 ``[1, keep]``."""
    early = g.op("Neg", g.cast(sizes.tokens(g, 0), "float32"))
    return best(g, sizes, g.op("Where", marks, early, g.const(-np.inf, "float32")))


def none_is(g: GraphBuilder, kept: ir.Value) -> ir.Value:
    """False for each of ``kept``."""
    return g.op("Less", kept, g.const(0))


def first(g: GraphBuilder, sizes: Sizes, order: ir.Value, count: ir.Value, like: ir.Value) -> ir.Value:
    """Marks bool ``[1, tokens]``, as many as ``like`` has, of the first ``count`` int64 ``[1]`` of ``order`` ``[1,
    keep]``."""
    those = g.cast(g.op("Less", sizes.ranks(g, 0), count), "float32")
    blank = g.op("ConstantOfShape", g.op("Shape", like))
    marks = g.op("ScatterElements", blank, order, those, axis=1)
    return g.op("Greater", marks, g.const(0.5, "float32"))
