"""Decoder segments of the Llama architecture, written node by node from the weights.

A segment is a run of layers in one graph that serves prefill and decode alike. Keys and values live in caches of
fixed capacity that the graph updates at ``write_index``; attention runs over the first ``kv_length`` slots under a
causal mask in slot order, which is right because pruning keeps tokens in their order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from clasp_trt.export.graph import DTYPES, GraphBuilder
from clasp_trt.export.weights.graph import Weights

MASKED = -30000.0
"""Additive mask of keys that a row may not see: far below any score, and finite in float16."""


@dataclass(frozen=True)
class LlamaDims:
    """Sizes of a Llama decoder; ``inverse_frequencies`` (``[head_dim / 2]``) carry any rotary scaling."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocabulary: int
    norm_epsilon: float
    inverse_frequencies: tuple[float, ...]
    rotary_gain: float = 1.0


@dataclass(frozen=True)
class SegmentSpec:
    """Which layers a segment holds and what surrounds it."""

    name: str
    first_layer: int
    last_layer: int
    capacity: int  # KV slots
    max_positions: int  # rotary positions
    watched: bool  # a prune follows, so the last layer also gives saliency


def segment_graph(dims: LlamaDims, spec: SegmentSpec, weights: Weights, dtype: str) -> ir.Model:
    """Layers ``first_layer`` to ``last_layer``; the last segment ends in the logits of the last row."""
    g = GraphBuilder(spec.name, f"Decoder layers {spec.first_layer} to {spec.last_layer}, prefill and decode.")
    hidden = g.input("hidden", dtype, [1, "sequence", dims.width], "hidden states of the new rows")
    positions = g.input("position_ids", "int64", [1, "sequence"], "rotary positions of the new rows")
    write_index = g.input("write_index", "int64", [1], "cache slot of the first new row")
    kv_length = g.input(
        "kv_length", "int64", [1], "cache slots filled once the new rows are in: at least write_index + sequence"
    )
    reference = visual = None
    if spec.watched:
        reference = g.input(
            "reference_index", "int64", ["reference"], "rows of the text after the image; empty in decode"
        )
        visual = g.input("visual_index", "int64", ["visual_tokens"], "rows of the visual tokens; empty in decode")
    step = _Step(g, dims, weights, dtype, positions, write_index, kv_length, _rotary(g, dims, spec, dtype))

    saliency = None
    for layer in range(spec.first_layer, spec.last_layer + 1):
        watched = (
            (reference, visual) if layer == spec.last_layer and reference is not None and visual is not None else None
        )
        hidden, seen = step.layer(layer, hidden, spec.capacity, watched, last_row=layer == dims.layers - 1)
        saliency = seen if seen is not None else saliency
    if spec.last_layer == dims.layers - 1:
        g.output(
            _logits(g, dims, weights, hidden), "logits", "float32", [1, 1, dims.vocabulary], "scores of the next token"
        )
    else:
        g.output(hidden, "hidden_out", dtype, [1, "sequence", dims.width], "hidden states after the last layer")
    if saliency is not None:
        g.output(
            saliency,
            "saliency",
            "float32",
            [1, "visual_tokens"],
            "attention of the reference rows, mean over heads and rows",
        )
    step.declare_caches(spec.capacity)
    return g.model()


class _Step:
    """What the layers of one segment share: mask, rotary tables, and the caches they declare."""

    def __init__(
        self,
        g: GraphBuilder,
        dims: LlamaDims,
        weights: Weights,
        dtype: str,
        positions: ir.Value,
        write_index: ir.Value,
        kv_length: ir.Value,
        rotary: tuple[ir.Value, ir.Value],
    ) -> None:
        self.g, self.dims, self.weights, self.dtype = g, dims, weights, dtype
        self.positions, self.write_index, self.kv_length, self.rotary = positions, write_index, kv_length, rotary
        self.mask = self._causal_mask()
        self.caches: list[tuple[ir.Value, str]] = []

    def layer(
        self,
        layer: int,
        hidden: ir.Value,
        capacity: int,
        watched: tuple[ir.Value, ir.Value] | None,
        *,
        last_row: bool,
    ) -> tuple[ir.Value, ir.Value | None]:
        """One pre-norm block; also the saliency if ``watched`` names ``(reference_index, visual_index)``.

        With ``last_row`` only the last row is carried on, which is all that the decoder's last layer owes; keys and
        values are still those of every row.
        """
        g, dims = self.g, self.dims
        prefix = f"layers.{layer}"
        positions, mask = self.positions, self.mask
        normed = self._norm(f"{prefix}.input_layernorm", hidden)
        key = self._rotate(self._heads(f"{prefix}.self_attn.k_proj", normed, dims.kv_heads), positions)
        value = self._heads(f"{prefix}.self_attn.v_proj", normed, dims.kv_heads)
        keys = self._cached(f"key_{layer}", key, capacity)
        values = self._cached(f"value_{layer}", value, capacity)
        if last_row:
            hidden, normed, positions = (self._last(x, axis=1) for x in (hidden, normed, positions))
            mask = self._last(mask, axis=0)
        query = self._rotate(self._heads(f"{prefix}.self_attn.q_proj", normed, dims.heads), positions)
        attended = g.op("Attention", query, keys, values, mask, scale=1.0 / math.sqrt(dims.head_dim))
        joined = g.op(
            "Reshape", g.op("Transpose", attended, perm=[0, 2, 1, 3]), g.const([0, 0, dims.heads * dims.head_dim])
        )
        hidden = g.op(
            "Add", hidden, self._linear(f"{prefix}.self_attn.o_proj", joined, dims.heads * dims.head_dim, dims.width)
        )
        normed = self._norm(f"{prefix}.post_attention_layernorm", hidden)
        gate = self._linear(f"{prefix}.mlp.gate_proj", normed, dims.width, dims.mlp)
        up = self._linear(f"{prefix}.mlp.up_proj", normed, dims.width, dims.mlp)
        activated = g.op("Mul", g.op("Mul", gate, g.op("Sigmoid", gate)), up)
        hidden = g.op("Add", hidden, self._linear(f"{prefix}.mlp.down_proj", activated, dims.mlp, dims.width))
        return hidden, None if watched is None else self._saliency(query, keys, *watched)

    def declare_caches(self, capacity: int) -> None:
        """Declares the updated caches as outputs, after all others."""
        for present, name in self.caches:
            shape = [1, self.dims.kv_heads, capacity, self.dims.head_dim]
            self.g.output(present, f"present_{name}", self.dtype, shape, "updated cache; bind it to its past")

    def _causal_mask(self) -> ir.Value:
        """Additive ``[sequence, kv_length]``: row ``i`` sees slots up to ``write_index + i``."""
        g = self.g
        sequence = g.op("Squeeze", g.op("Shape", self.positions, start=1))
        rows = g.op("Add", g.op("Range", g.const(0), sequence, g.const(1)), self.write_index)
        slots = g.op("Range", g.const(0), g.op("Squeeze", self.kv_length), g.const(1))
        seen = g.op("LessOrEqual", g.op("Unsqueeze", slots, g.const([0])), g.op("Unsqueeze", rows, g.const([1])))
        return g.op("Where", seen, g.const(0.0, self.dtype), g.const(MASKED, self.dtype))

    def _norm(self, name: str, x: ir.Value) -> ir.Value:
        scale = self.g.weight(f"{name}.weight", self.weights.vector(f"{name}.weight", self.dims.width))
        return self.g.op("RMSNormalization", x, scale, epsilon=self.dims.norm_epsilon)

    def _linear(self, name: str, x: ir.Value, inputs: int, outputs: int) -> ir.Value:
        product = self.g.op("MatMul", x, self.g.weight(f"{name}.weight", self.weights.linear(name, inputs, outputs)))
        if f"{name}.bias" not in self.weights:
            return product
        return self.g.op("Add", product, self.g.weight(f"{name}.bias", self.weights.vector(f"{name}.bias", outputs)))

    def _heads(self, name: str, x: ir.Value, heads: int) -> ir.Value:
        """A projection as ``[1, heads, sequence, head_dim]``."""
        flat = self._linear(name, x, self.dims.width, heads * self.dims.head_dim)
        split = self.g.op("Reshape", flat, self.g.const([0, 0, heads, self.dims.head_dim]))
        return self.g.op("Transpose", split, perm=[0, 2, 1, 3])

    def _rotate(self, x: ir.Value, positions: ir.Value) -> ir.Value:
        return self.g.op("RotaryEmbedding", x, *self.rotary, positions)

    def _last(self, x: ir.Value, axis: int) -> ir.Value:
        return self.g.op("Slice", x, self.g.const([-1]), self.g.const([np.iinfo(np.int64).max]), self.g.const([axis]))

    def _cached(self, name: str, fresh: ir.Value, capacity: int) -> ir.Value:
        """Writes ``fresh`` into its cache and returns the filled part, ``[1, kv_heads, kv_length, head_dim]``."""
        g = self.g
        shape = [1, self.dims.kv_heads, capacity, self.dims.head_dim]
        past = g.input(f"past_{name}", self.dtype, shape, "cache, filled up to write_index")
        present = g.op("TensorScatter", past, fresh, self.write_index)
        self.caches.append((present, name))
        return g.op("Slice", present, g.const([0]), self.kv_length, g.const([2]))

    def _saliency(self, query: ir.Value, keys: ir.Value, reference: ir.Value, visual: ir.Value) -> ir.Value:
        """Eqs. 4 and 32-33: softmax over all keys that a reference row sees, mean over heads and reference rows."""
        g, dims = self.g, self.dims
        groups = dims.heads // dims.kv_heads
        rows = g.cast(g.op("Gather", query, reference, axis=2), "float32")
        # one product per KV head for all the query heads that share it
        shape = g.op(
            "Concat", g.const([1, dims.kv_heads, groups]), g.op("Shape", reference), g.const([dims.head_dim]), axis=0
        )
        split = g.op("Reshape", rows, shape, allowzero=1)  # decode has no reference rows
        transposed = g.op("Unsqueeze", g.op("Transpose", g.cast(keys, "float32"), perm=[0, 1, 3, 2]), g.const([2]))
        scores = g.op("Mul", g.op("MatMul", split, transposed), g.const(1.0 / math.sqrt(dims.head_dim), "float32"))
        mask = g.cast(g.op("Gather", self.mask, reference, axis=0), "float32")
        weights = g.op("Softmax", g.op("Add", scores, mask), axis=-1)
        received = g.op("Gather", weights, visual, axis=4)
        return g.op("ReduceMean", received, g.const([1, 2, 3]), keepdims=0)


def _rotary(g: GraphBuilder, dims: LlamaDims, spec: SegmentSpec, dtype: str) -> tuple[ir.Value, ir.Value]:
    """Cosine and sine tables ``[max_positions, head_dim / 2]``, computed in float32 as the checkpoint does."""
    frequencies = np.asarray(dims.inverse_frequencies, dtype=np.float32)
    angles = np.arange(spec.max_positions, dtype=np.float32)[:, None] * frequencies[None]
    tables = [(function(angles) * np.float32(dims.rotary_gain)).astype(np.float32) for function in (np.cos, np.sin)]
    cos, sin = (ir.tensor(table.astype(DTYPES[dtype].numpy())) for table in tables)
    return g.weight("rotary_cos", cos), g.weight("rotary_sin", sin)


def _logits(g: GraphBuilder, dims: LlamaDims, weights: Weights, hidden: ir.Value) -> ir.Value:
    scale = g.weight("norm.weight", weights.vector("norm.weight", dims.width))
    normed = g.op("RMSNormalization", hidden, scale, epsilon=dims.norm_epsilon)
    head = weights.linear("lm_head", dims.width, dims.vocabulary)
    return g.cast(g.op("MatMul", normed, g.weight("lm_head.weight", head)), "float32")
