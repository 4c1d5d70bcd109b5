"""The projector of a tower of any grid: support layers fused, then blocks of patches merged to tokens."""

from __future__ import annotations

import onnx_ir as ir

from clasp_trt.chain import names, vision_ports
from clasp_trt.export.graph import GraphBuilder
from clasp_trt.export.towers.grid import EPSILON, MergerSpec
from clasp_trt.export.weights.graph import Weights

PARTS = ("norm", "linear_1", "linear_2")
"""What the parts of a merger are called in the projector."""


def merger_graph(spec: MergerSpec, layers: int, weights: Weights, dtype: str) -> ir.Model:
    """The graph from ``features`` ``[frames, layers, patches, width]``, ``alpha`` float32 ``[1, layers]`` and what the
    tower says of each patch, ``cls_saliency`` float32 ``[frames, patches]``, to ``visual`` ``[1, visual_tokens, out]``
    and ``token_saliency`` float32 ``[1, visual_tokens]``, the mean over the patches of each token.

    ``weights`` are named ``projector.norm``, ``projector.linear_1`` and ``projector.linear_2``.
    """
    g = GraphBuilder(names.PROJECTOR, "Fuses support layers by the category's weights and merges patches to tokens.")
    taken, given = vision_ports.merging_projector(layers, spec.width, spec.out, dtype)
    features, alpha, saliency = g.take(taken)
    weighted = g.op("Mul", g.cast(features, "float32"), g.op("Unsqueeze", alpha, g.const([2, 3])))
    fused = g.cast(g.op("ReduceSum", weighted, g.const([1]), keepdims=0), dtype)
    visual = merged(g, spec, weights, names.PROJECTOR, PARTS, fused)
    blocks = g.op("Reshape", saliency, g.const([1, -1, spec.merged]))
    g.give(given, visual, g.op("ReduceMean", blocks, g.const([2]), keepdims=0))
    return g.model()


def merged(
    g: GraphBuilder, spec: MergerSpec, weights: Weights, name: str, parts: tuple[str, str, str], rows: ir.Value
) -> ir.Value:
    """``rows`` ``[frames, patches, width]``, those of a token one after the other, as tokens ``[1, tokens, out]``.

    ``parts`` are the names of the norm and the two linear layers under ``name``.
    """
    normed, first, second = (f"{name}.{part}" for part in parts)
    if not spec.norm_after:
        rows = norm(g, weights, normed, rows, spec.norm, spec.normed)
    rows = g.op("Reshape", rows, g.const([1, -1, spec.block]))
    if spec.norm_after:
        rows = norm(g, weights, normed, rows, spec.norm, spec.normed)
    rows = g.op("Gelu", linear(g, weights, first, rows, spec.block, spec.block))
    return linear(g, weights, second, rows, spec.block, spec.out)


def norm(g: GraphBuilder, weights: Weights, name: str, x: ir.Value, kind: str, width: int) -> ir.Value:
    """An RMSNorm, or a LayerNorm with its shift."""
    scale = g.weight(f"{name}.weight", weights.vector(f"{name}.weight", width))
    if kind == "rms":
        return g.op("RMSNormalization", x, scale, epsilon=EPSILON)
    shift = g.weight(f"{name}.bias", weights.vector(f"{name}.bias", width))
    return g.op("LayerNormalization", x, scale, shift, epsilon=EPSILON)


def linear(
    g: GraphBuilder, weights: Weights, name: str, x: ir.Value, inputs: int, outputs: int, *, bias: bool = True
) -> ir.Value:
    """A linear layer."""
    product = g.product(x, f"{name}.weight", weights.linear(name, inputs, outputs))
    if not bias:
        return product
    return g.op("Add", product, g.weight(f"{name}.bias", weights.vector(f"{name}.bias", outputs)))
