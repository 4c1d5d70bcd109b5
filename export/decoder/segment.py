"""Decoder segments, written node by node from the weights: Llama's architecture and its kin.

A segment is a run of layers in one graph that serves prefill and decode alike. Keys and values live in caches of
fixed capacity that the graph updates at ``write_index``; attention runs over the first ``kv_length`` places under a
causal mask in their order, which is right because pruning keeps tokens in theirs. A call serves any number of slots,
each a request with caches of its own, filled as far as it may be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from clasp_trt.chain import Cut, port, ports
from clasp_trt.export.decoder.rotary import rotary
from clasp_trt.export.decoder.spec import DecoderSpec
from clasp_trt.export.graph import DTYPES, GraphBuilder
from clasp_trt.export.weights.graph import Weights

MASKED = -30000.0
"""Additive mask of keys that a row may not see: far below any score, and finite in float16."""

Turn: TypeAlias = tuple[ir.Value, ...]
"""What RotaryEmbedding takes beside the rows: tables of cosines and sines and where to look in them, or those of each
row, ``[slots, sequence, head_dim / 2]``."""


def segment_graph(
    dims: DecoderSpec, cut: Cut, capacity: int, max_positions: int, weights: Weights, dtype: str
) -> ir.Model:
    """The layers of ``cut`` with caches of ``capacity`` places each and ``max_positions`` rotary positions; the last
    segment ends in the logits of the last row."""
    g = GraphBuilder(cut.name, f"Decoder layers {cut.first} to {cut.last}, prefill and decode.")
    taken, given = ports.segment(cut, dims, capacity, dtype)
    values = {each.name: value for each, value in zip(taken, g.take(taken), strict=True)}
    tables = _rotary(g, dims, max_positions, dtype)
    step = _Step(g, dims, weights, dtype, values, _turn(g, dims, tables, values[port.POSITION_IDS]))

    hidden = values[port.HIDDEN]
    for layer in range(cut.first, cut.last + 1):
        is_watched = cut.watched and layer == cut.last
        hidden = step.layer(layer, hidden, is_watched=is_watched, last_row=layer == dims.layers - 1)
        if layer < dims.deepstack:
            hidden = step.stacked(layer, hidden)
    ends = [_logits(g, dims, weights, hidden) if cut.last == dims.layers - 1 else hidden]
    g.give(given, *ends, *step.saliency, *step.caches)
    return g.model()


class _Step:
    """What the layers of one segment share, inputs, mask and rotary tables, and what they give besides their rows."""

    def __init__(
        self,
        g: GraphBuilder,
        dims: DecoderSpec,
        weights: Weights,
        dtype: str,
        inputs: Mapping[str, ir.Value],
        turn: Turn,
    ) -> None:
        self.g, self.dims, self.weights, self.dtype = g, dims, weights, dtype
        self.inputs, self.turn = inputs, turn
        self.mask = self._causal_mask()
        self.saliency: list[ir.Value] = []
        self.caches: list[ir.Value] = []

    def layer(self, layer: int, hidden: ir.Value, *, is_watched: bool, last_row: bool) -> ir.Value:
        """One pre-norm block; :attr:`saliency` is that of the layer that ``is_watched``.

        With ``last_row`` only the last row is carried on, which is all that the decoder's last layer owes; keys and
        values are still those of every row.
        """
        g, dims = self.g, self.dims
        prefix = f"layers.{layer}"
        turn, mask = self.turn, self.mask
        normed = self._norm(f"{prefix}.input_layernorm", hidden, dims.width)
        key = self._turned(f"{prefix}.self_attn.k", normed, dims.kv_heads, turn)
        value = self._heads(f"{prefix}.self_attn.v_proj", normed, dims.kv_heads)
        keys, values = (self._cached(*each) for each in zip(port.caches(layer), (key, value), strict=True))
        if last_row:
            hidden, normed = self._last(hidden, axis=1), self._last(normed, axis=1)
            turn, mask = self._last_turn(), self._last(mask, axis=2)
        query = self._turned(f"{prefix}.self_attn.q", normed, dims.heads, turn)
        attended = g.op("Attention", query, keys, values, mask, scale=1.0 / math.sqrt(dims.head_dim))
        joined = g.op(
            "Reshape", g.op("Transpose", attended, perm=[0, 2, 1, 3]), g.const([0, 0, dims.heads * dims.head_dim])
        )
        hidden = g.op(
            "Add",
            hidden,
            self._linear(f"{prefix}.self_attn.o_proj", joined, dims.attention_width, dims.width, bias=dims.output_bias),
        )
        normed = self._norm(f"{prefix}.post_attention_layernorm", hidden, dims.width)
        gate, up = (
            self._linear(f"{prefix}.mlp.{name}_proj", normed, dims.width, dims.mlp, bias=dims.mlp_bias)
            for name in ("gate", "up")
        )
        activated = g.op("Mul", g.op("Mul", gate, g.op("Sigmoid", gate)), up)
        down = self._linear(f"{prefix}.mlp.down_proj", activated, dims.mlp, dims.width, bias=dims.mlp_bias)
        hidden = g.op("Add", hidden, down)
        if is_watched:
            self.saliency.append(self._received(query, keys))
        return hidden

    def stacked(self, layer: int, hidden: ir.Value) -> ir.Value:
        """``hidden`` ``[slots, sequence, width]`` with what the tower gives for ``layer`` added to the visual rows.

        Only a single slot may have any.
        """
        g = self.g
        rows = g.op("Reshape", hidden, g.const([-1, self.dims.width]))  # of all slots; those of the first come first
        visual = g.op("Unsqueeze", self.inputs[port.VISUAL_INDEX], g.const([-1]))
        added = g.op("Gather", self.inputs[port.DEEPSTACK], g.const(layer), axis=0)
        sums = g.op("Add", g.op("Gather", rows, self.inputs[port.VISUAL_INDEX], axis=0), added)
        return g.op("Reshape", g.op("ScatterND", rows, visual, sums), g.op("Shape", hidden))

    def _causal_mask(self) -> ir.Value:
        """Additive ``[slots, 1, sequence, kv_length]``: row ``i`` sees places up to ``write_index + i``."""
        g = self.g
        sequence = g.op("Squeeze", g.op("Shape", self.inputs[port.HIDDEN], start=1, end=2))
        steps = g.op("Unsqueeze", g.op("Range", g.const(0), sequence, g.const(1)), g.const([1]))
        rows = g.op("Add", g.op("Unsqueeze", self.inputs[port.WRITE_INDEX], g.const([1, 2, 3])), steps)
        places = g.op("Range", g.const(0), g.op("Squeeze", self.inputs[port.KV_LENGTH]), g.const(1))
        seen = g.op("LessOrEqual", places, rows)
        return g.op("Where", seen, g.const(0.0, self.dtype), g.const(MASKED, self.dtype))

    def _norm(self, name: str, x: ir.Value, width: int) -> ir.Value:
        scale = self.g.weight(f"{name}.weight", self.weights.vector(f"{name}.weight", width))
        return self.g.op("RMSNormalization", x, scale, epsilon=self.dims.norm_epsilon)

    def _linear(self, name: str, x: ir.Value, inputs: int, outputs: int, *, bias: bool) -> ir.Value:
        product = self.g.op("MatMul", x, self.g.weight(f"{name}.weight", self.weights.linear(name, inputs, outputs)))
        if not bias:
            return product
        return self.g.op("Add", product, self.g.weight(f"{name}.bias", self.weights.vector(f"{name}.bias", outputs)))

    def _heads(self, name: str, x: ir.Value, heads: int) -> ir.Value:
        """A projection as ``[slots, heads, sequence, head_dim]``."""
        flat = self._linear(name, x, self.dims.width, heads * self.dims.head_dim, bias=self.dims.qkv_bias)
        split = self.g.op("Reshape", flat, self.g.const([0, 0, heads, self.dims.head_dim]))
        return self.g.op("Transpose", split, perm=[0, 2, 1, 3])

    def _turned(self, name: str, x: ir.Value, heads: int, turn: Turn) -> ir.Value:
        """Queries or keys, turned to their positions; ``name`` lacks its ``_proj``."""
        split = self._heads(f"{name}_proj", x, heads)
        if self.dims.qk_norm:
            split = self._norm(f"{name}_norm", split, self.dims.head_dim)
        return self.g.op("RotaryEmbedding", split, *turn)

    def _last_turn(self) -> Turn:
        """Of the last row of each slot."""
        if self.dims.frequency_axes:
            return tuple(self._last(rows, axis=1) for rows in self.turn)
        *tables, positions = self.turn
        return *tables, self._last(positions, axis=-1)

    def _last(self, x: ir.Value, axis: int) -> ir.Value:
        return self.g.op("Slice", x, self.g.const([-1]), self.g.const([np.iinfo(np.int64).max]), self.g.const([axis]))

    def _cached(self, name: str, fresh: ir.Value) -> ir.Value:
        """Writes ``fresh`` into its cache and returns the filled part, ``[slots, kv_heads, kv_length, head_dim]``."""
        g = self.g
        present = g.op("TensorScatter", self.inputs[port.past(name)], fresh, self.inputs[port.WRITE_INDEX])
        self.caches.append(present)
        return g.op("Slice", present, g.const([0]), self.inputs[port.KV_LENGTH], g.const([2]))

    def _received(self, query: ir.Value, keys: ir.Value) -> ir.Value:
        """Eqs. 4 and 32-33: softmax over all keys that a reference row sees, mean over heads and reference rows.

        Rows are those of the only slot that has any; the key of row ``i`` lies at ``write_index + i``.
        """
        g, dims = self.g, self.dims
        reference, visual = self.inputs[port.REFERENCE_INDEX], self.inputs[port.VISUAL_INDEX]
        groups = dims.heads // dims.kv_heads
        # one product per KV head for all the query heads that share it
        split = g.op("Reshape", query, g.const([0, dims.kv_heads, groups, -1, dims.head_dim]))
        rows = g.cast(g.op("Gather", split, reference, axis=3), "float32")
        transposed = g.op("Unsqueeze", g.op("Transpose", g.cast(keys, "float32"), perm=[0, 1, 3, 2]), g.const([2]))
        scores = g.op("Mul", g.op("MatMul", rows, transposed), g.const(1.0 / math.sqrt(dims.head_dim), "float32"))
        mask = g.cast(g.op("Unsqueeze", g.op("Gather", self.mask, reference, axis=2), g.const([1])), "float32")
        weights = g.op("Softmax", g.op("Add", scores, mask), axis=-1)
        places = g.op("Add", visual, g.op("Gather", self.inputs[port.WRITE_INDEX], g.const(0)))
        received = g.op("Gather", weights, places, axis=4)
        return g.op("ReduceMean", received, g.const([1, 2, 3]), keepdims=0)


def _rotary(g: GraphBuilder, dims: DecoderSpec, max_positions: int, dtype: str) -> tuple[ir.Value, ir.Value]:
    """Cosine and sine tables ``[max_positions, head_dim / 2]``, computed in float32 as the checkpoint does."""
    turned = rotary(dims)
    frequencies = np.asarray(turned.inverse_frequencies, dtype=np.float32)
    angles = np.arange(max_positions, dtype=np.float32)[:, None] * frequencies[None]
    tables = [(function(angles) * np.float32(turned.gain)).astype(np.float32) for function in (np.cos, np.sin)]
    cos, sin = (ir.tensor(table.astype(DTYPES[dtype].numpy())) for table in tables)
    return g.weight("rotary_cos", cos), g.weight("rotary_sin", sin)


def _turn(g: GraphBuilder, dims: DecoderSpec, tables: tuple[ir.Value, ir.Value], positions: ir.Value) -> Turn:
    """Rows of one position look up tables by themselves. Of several, ``[axes, slots, sequence]``, each frequency takes
    its own from what all axes look up."""
    if not dims.frequency_axes:
        return *tables, positions
    axes, found = np.asarray(dims.frequency_axes), []
    for table in tables:
        every = g.op("Gather", table, positions, axis=0)  # [axes, slots, sequence, head_dim / 2]
        chosen = g.op("Gather", every, g.const(0), axis=0)
        for axis in range(1, dims.axes):
            chosen = g.op("Where", g.const(axes == axis, "bool"), g.op("Gather", every, g.const(axis), axis=0), chosen)
        found.append(chosen)
    return tuple(found)


def _logits(g: GraphBuilder, dims: DecoderSpec, weights: Weights, hidden: ir.Value) -> ir.Value:
    scale = g.weight("norm.weight", weights.vector("norm.weight", dims.width))
    normed = g.op("RMSNormalization", hidden, scale, epsilon=dims.norm_epsilon)
    head = weights.linear("lm_head", dims.width, dims.vocab_size)
    return g.cast(g.op("MatMul", normed, g.weight("lm_head.weight", head)), "float32")
