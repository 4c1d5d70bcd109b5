"""Bodies of ``ClaspPivotSelect`` and ``ClaspSphericalKMeans`` in standard operators, and the Gram matrix they read.

The bodies compute exactly what the numpy references of :mod:`clasp_trt.ops` compute. Sums of similarities are exact
in float32 because a similarity in steps splits into a high and a low part of ten bits each, and a sum of
:data:`clasp_trt.ops.MAX_TOKENS` such parts still fits the 24 bits of a float32. There are ``keep`` clusters, and those
beyond ``keep - pivots`` stay closed. Sizes are fixed, or a further input ``ranks`` int64 ``[keep]`` counts what stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from clasp_trt.chain import port
from clasp_trt.export.graph import GraphBuilder
from clasp_trt.export.pruning.sizes import Fixed, FixedTokens, Sizes, Tokens, Varying, VaryingTokens
from clasp_trt.operators import PIVOT_SELECT, SPHERICAL_KMEANS
from clasp_trt.ops import GRAM_STEPS, ITERATIONS

_HALF = 1024.0  # splits a similarity of 2**20 steps into two parts of 2**10
_FIRST, _INVALID, _LAST = -4.0 * GRAM_STEPS, 2.0 * GRAM_STEPS, 4.0 * GRAM_STEPS  # around redundancies in +-GRAM_STEPS


def pivot_select(tokens: int | None, keep: int | None) -> ir.Function:
    """The body of :data:`clasp_trt.operators.PIVOT_SELECT`: saliency float32 ``[batch, tokens]`` to pivots bool.

    ``tokens`` and ``keep`` of None are the request's.
    """
    g = GraphBuilder(PIVOT_SELECT.name, "Marks the most salient tokens.")
    width = port.VISUAL_TOKENS if tokens is None else tokens
    saliency = g.input("saliency", "float32", ["batch", width], "attention received")
    count = g.input("pivot_count", "int64", ["batch"], "pivots to mark")
    sizes = _sizes(g, tokens, keep, saliency)
    phi = g.op("Where", g.op("IsNaN", saliency), g.const(-np.inf, "float32"), saliency)
    _, best = g.ops("TopK", phi, sizes.keep(g), outputs=2, axis=-1, largest=1, sorted=1)
    inside = g.op("Less", sizes.ranks(g, 0), g.op("Unsqueeze", count, g.const([1])))
    blank = g.op("ConstantOfShape", g.op("Shape", phi))
    marks = g.op("ScatterElements", blank, best, g.cast(inside, "float32"), axis=1)
    g.output(g.op("Greater", marks, g.const(0.5, "float32")), "pivots", "bool", ["batch", width], "pivot marks")
    return g.function(dict(sizes.attributes))


def spherical_kmeans(tokens: int | None, keep: int | None, iterations: int = ITERATIONS) -> ir.Function:
    """The body of :data:`clasp_trt.operators.SPHERICAL_KMEANS` for ``gram`` float32 ``[batch, tokens, tokens]``.

    ``tokens`` and ``keep`` of None are the request's.
    """
    g = GraphBuilder(SPHERICAL_KMEANS.name, "Completes pivots with medoids.")
    width = port.VISUAL_TOKENS if tokens is None else tokens
    gram = g.input(port.GRAM, "float32", ["batch", width, width], "cosine similarities")
    pivots = g.input("pivots", "bool", ["batch", width], "pivot marks")
    sizes = _sizes(g, tokens, keep, pivots)

    steps = g.op("Round", g.op("Mul", gram, g.const(float(GRAM_STEPS), "float32")))
    on_diagonal = g.op("Where", _compare(g, "Equal", sizes), steps, g.const(0.0, "float32"))
    diagonal = g.op("ReduceSum", on_diagonal, g.const([-1]), keepdims=0)
    rank = _seed_rank(g, steps, diagonal, pivots)
    pool_rank = g.op("Where", pivots, g.const(_LAST, "float32"), rank)
    _, seeds = g.ops("TopK", pool_rank, sizes.keep(g), outputs=2, axis=-1, largest=0, sorted=1)
    pivot_count = g.op("ReduceSum", g.cast(pivots, "int64"), g.const([-1]), keepdims=1)
    ranks, stay = sizes.ranks(g, 0), sizes.keep(g) if keep is None else g.const(keep)
    is_open = g.op("Less", ranks, g.op("Sub", stay, pivot_count))

    clusters = _Clusters(
        sums=g.op("GatherND", steps, g.op("Unsqueeze", seeds, g.const([-1])), batch_dims=1),
        lengths=g.op("Unsqueeze", g.op("GatherElements", diagonal, seeds, axis=1), g.const([-1])),
    )
    high = g.op("Floor", g.op("Mul", steps, g.const(1 / _HALF, "float32")))
    low = g.op("Sub", steps, g.op("Mul", high, g.const(_HALF, "float32")))
    joinable = g.op(
        "And",
        g.op("Unsqueeze", g.op("Not", pivots), g.const([1])),
        g.op("Unsqueeze", is_open, g.const([-1])),
    )
    for _ in range(iterations):
        clusters, members, filled = _iterate(g, clusters, high, low, joinable, sizes)

    closeness = g.op("Where", members, _cosine(g, clusters), g.const(-np.inf, "float32"))
    medoid = g.op("ArgMax", closeness, axis=2, keepdims=1)
    is_medoid = g.op("And", g.op("Equal", medoid, sizes.tokens(g, 0, 1)), filled)
    any_medoid = g.op("ReduceMax", g.cast(is_medoid, "float32"), g.const([1]), keepdims=0)
    chosen = g.op("Or", pivots, g.op("Greater", any_medoid, g.const(0.5, "float32")))
    # the chosen come first; places that empty clusters left go to the best-ranked of the others
    final_rank = g.op("Where", chosen, g.const(_FIRST, "float32"), rank)
    _, unordered = g.ops("TopK", final_rank, sizes.keep(g), outputs=2, axis=-1, largest=0, sorted=1)
    ascending, _ = g.ops("TopK", g.cast(unordered, "float32"), sizes.keep(g), outputs=2, axis=-1, largest=0, sorted=1)
    kept = g.cast(ascending, "int64")
    kept_shape = ["batch", port.KEEP if keep is None else keep]
    g.output(kept, "kept", "int64", kept_shape, "kept tokens, ascending")
    g.output(g.op("GatherElements", pivots, kept, axis=1), "is_pivot", "bool", kept_shape, "pivot or medoid")
    return g.function({**sizes.attributes, "iterations": iterations})


def _sizes(g: GraphBuilder, tokens: int | None, keep: int | None, counted: ir.Value) -> Sizes:
    if tokens is not None and keep is not None:
        return Fixed(tokens, keep)
    return Varying(counted, g.input(port.RANKS, "int64", [port.KEEP], "0 and on, one for each that stays"))


def token_gram(g: GraphBuilder, tokens: ir.Value, count: int | None) -> ir.Value:
    """Appends the Gram matrix of :func:`clasp_trt.ops.token_gram`.

    ``tokens`` is ``[batch, count, width]`` of any float type; the result is float32 ``[batch, count, count]``. A
    ``count`` of None is the request's.
    """
    x = g.cast(tokens, "float32")
    # |x| <= max also fails for NaN: finite means comparable with the largest float
    bounded = g.op("LessOrEqual", g.op("Abs", x), g.const(np.finfo(np.float32).max, "float32"))
    finite = g.op("ReduceMin", g.cast(bounded, "float32"), g.const([-1]), keepdims=1)
    clean = g.op("Where", g.op("Greater", finite, g.const(0.5, "float32")), x, g.const(0.0, "float32"))
    peak = g.op("ReduceMax", g.op("Abs", clean), g.const([-1]), keepdims=1)
    valid = g.op("Greater", peak, g.const(0.0, "float32"))
    scaled = g.op("Div", clean, g.op("Where", valid, peak, g.const(1.0, "float32")))
    length = g.op("Sqrt", g.op("ReduceSum", g.op("Mul", scaled, scaled), g.const([-1]), keepdims=1))
    unit = g.op("Div", scaled, g.op("Where", valid, length, g.const(1.0, "float32")))
    product = g.op("MatMul", unit, g.op("Transpose", unit, perm=[0, 2, 1]))
    counted: Tokens = VaryingTokens(product) if count is None else FixedTokens(count)
    upper = _compare(g, "LessOrEqual", counted)
    mirrored = g.op("Where", upper, product, g.op("Transpose", product, perm=[0, 2, 1]))
    clipped = g.op("Clip", mirrored, g.const(-1.0, "float32"), g.const(1.0, "float32"))
    steps = g.op("Round", g.op("Mul", clipped, g.const(float(GRAM_STEPS), "float32")))
    quantised = g.op("Mul", steps, g.const(1.0 / GRAM_STEPS, "float32"))
    return g.op("Where", _compare(g, "Equal", counted), g.cast(valid, "float32"), quantised)


def _compare(g: GraphBuilder, op_type: str, tokens: Tokens) -> ir.Value:
    """Row number against column number, bool ``[1, count, count]``: as a constant it would outweigh the graph."""
    return g.op(op_type, tokens.tokens(g, 0, 2), tokens.tokens(g, 0, 1))


@dataclass(frozen=True)
class _Clusters:
    """Centers by what they show: ``S`` as ``[batch, keep, tokens]`` and ``C`` as ``[batch, keep, 1]``."""

    sums: ir.Value
    lengths: ir.Value


def _seed_rank(g: GraphBuilder, steps: ir.Value, diagonal: ir.Value, pivots: ir.Value) -> ir.Value:
    """Seed preference of each token, lowest first: its redundancy (Eq. 13), or the last place if invalid."""
    to_pivot = g.op("Where", g.op("Unsqueeze", pivots, g.const([1])), steps, g.const(-float(GRAM_STEPS), "float32"))
    redundancy = g.op("ReduceMax", to_pivot, g.const([-1]), keepdims=0)
    return g.op("Where", g.op("Greater", diagonal, g.const(0.0, "float32")), redundancy, g.const(_INVALID, "float32"))


def _iterate(
    g: GraphBuilder, clusters: _Clusters, high: ir.Value, low: ir.Value, joinable: ir.Value, sizes: Sizes
) -> tuple[_Clusters, ir.Value, ir.Value]:
    """One assignment (Eq. 14) and update (Eq. 15).

    Also returns the members bool ``[batch, keep, tokens]`` and which clusters have any, bool ``[batch, keep, 1]``.
    """
    closest = g.op("Where", joinable, _cosine(g, clusters), g.const(-np.inf, "float32"))
    owner = g.op("ArgMax", closest, axis=1, keepdims=1)
    members = g.op("And", g.op("Equal", owner, sizes.ranks(g, 0, 2)), joinable)
    weights = g.cast(members, "float32")
    filled = g.op("Greater", g.op("ReduceMax", weights, g.const([-1]), keepdims=1), g.const(0.5, "float32"))
    sum_high, sum_low = g.op("MatMul", weights, high), g.op("MatMul", weights, low)
    sums = g.op("Add", g.op("Mul", sum_high, g.const(_HALF, "float32")), sum_low)
    totals = [
        g.op("ReduceSum", g.cast(g.op("Mul", weights, part), "int64"), g.const([-1]), keepdims=1)
        for part in (sum_high, sum_low)
    ]
    lengths = g.cast(g.op("Add", g.op("Mul", totals[0], g.const(int(_HALF))), totals[1]), "float32")
    updated = _Clusters(
        sums=g.op("Where", filled, sums, clusters.sums), lengths=g.op("Where", filled, lengths, clusters.lengths)
    )
    return updated, members, filled


def _cosine(g: GraphBuilder, clusters: _Clusters) -> ir.Value:
    """``S / sqrt(C)``, up to a factor common to all clusters; 0 for a center of zero length."""
    zero = g.const(0.0, "float32")
    has_length = g.op("Greater", clusters.lengths, zero)
    root = g.op("Sqrt", g.op("Where", has_length, clusters.lengths, g.const(1.0, "float32")))
    return g.op("Where", has_length, g.op("Div", clusters.sums, root), zero)
