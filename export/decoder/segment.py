"""Decoder segments, written node by node from the weights: Llama's architecture and its kin.

A segment is a run of layers in one graph that serves prefill and decode alike. Keys and values live in caches of
fixed capacity that the graph updates at ``write_index``; attention runs over the first ``kv_length`` places under a
causal mask in their order, which is right because pruning keeps tokens in theirs, or under a mask of what each row is
told to see. A call serves any number of slots, each a request with caches of its own, filled as far as it may be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
    segment ends in the logits of the rows that it is told."""
    g = GraphBuilder(cut.name, f"Decoder layers {cut.first} to {cut.last}, prefill and decode.")
    taken, given = ports.segment(cut, dims, capacity, dtype)
    values = {each.name: value for each, value in zip(taken, g.take(taken), strict=True)}
    slides = sorted({dims.slides(layer) for layer in range(cut.first, cut.last + 1)})
    step = _Step(g, dims, weights, dtype, values, _turns(g, dims, slides, max_positions, dtype, values))

    hidden = values[port.HIDDEN]
    for layer in range(cut.first, cut.last + 1):
        is_watched = cut.watched and layer == cut.last
        hidden = step.layer(layer, hidden, is_watched=is_watched, is_last=layer == dims.layers - 1)
        if layer < dims.deepstack:
            hidden = step.stacked(layer, hidden)
    ends = [_logits(g, dims, weights, hidden) if cut.last == dims.layers - 1 else hidden]
    g.give(given, *ends, *step.saliency, *step.caches)
    return g.model()


class _Step:
    """What the layers of one segment share, inputs, masks and rotary tables, and what they give besides their rows.

    Masks and ``turns`` are by whether a layer slides.
    """

    def __init__(
        self,
        g: GraphBuilder,
        dims: DecoderSpec,
        weights: Weights,
        dtype: str,
        inputs: Mapping[str, ir.Value],
        turns: Mapping[bool, Turn],
    ) -> None:
        self.g, self.dims, self.weights, self.dtype = g, dims, weights, dtype
        self.inputs, self.turns = inputs, turns
        self.masks = self._masks()
        self.saliency: list[ir.Value] = []
        self.caches: list[ir.Value] = []

    def layer(self, layer: int, hidden: ir.Value, *, is_watched: bool, is_last: bool) -> ir.Value:
        """One pre-norm block; :attr:`saliency` is that of the layer that ``is_watched``.

        The last layer carries on the scored rows alone, which is all that it owes; its keys and values are still those
        of every row.
        """
        g, dims = self.g, self.dims
        prefix = f"layers.{layer}"
        slides = dims.slides(layer)
        turn, mask = self.turns[slides], self.masks[slides]
        normed = self._norm(f"{prefix}.input_layernorm", hidden, dims.width)
        key = self._turned(f"{prefix}.self_attn.k", normed, dims.kv_heads, turn)
        value = self._heads(f"{prefix}.self_attn.v_proj", normed, dims.kv_heads)
        keys, values = (self._cached(*each) for each in zip(port.caches(layer), (key, value), strict=True))
        if is_last:
            hidden, normed = self._scored(hidden, axis=1), self._scored(normed, axis=1)
            turn, mask = self._scored_turn(turn), self._scored(mask, axis=2)
        query = self._turned(f"{prefix}.self_attn.q", normed, dims.heads, turn)
        attended = self._attended(query, keys, values, mask)
        joined = g.op(
            "Reshape", g.op("Transpose", attended, perm=[0, 2, 1, 3]), g.const([0, 0, dims.heads * dims.head_dim])
        )
        added = self._linear(
            f"{prefix}.self_attn.o_proj", joined, dims.attention_width, dims.width, bias=dims.output_bias
        )
        if dims.post_norms:
            added = self._norm(f"{prefix}.post_attention_layernorm", added, dims.width)
        hidden = g.op("Add", hidden, added)
        before = "pre_feedforward_layernorm" if dims.post_norms else "post_attention_layernorm"
        normed = self._norm(f"{prefix}.{before}", hidden, dims.width)
        gate, up = (
            self._linear(f"{prefix}.mlp.{name}_proj", normed, dims.width, dims.mlp, bias=dims.mlp_bias)
            for name in ("gate", "up")
        )
        activated = g.op("Mul", self._activated(gate), up)
        down = self._linear(f"{prefix}.mlp.down_proj", activated, dims.mlp, dims.width, bias=dims.mlp_bias)
        if dims.post_norms:
            down = self._norm(f"{prefix}.post_feedforward_layernorm", down, dims.width)
        hidden = g.op("Add", hidden, down)
        if is_watched:
            self.saliency.append(self._received(query, keys, self.masks[slides]))
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

    def _masks(self) -> dict[bool, ir.Value]:
        """Additive ``[slots, 1, sequence, kv_length]``, by whether a layer slides."""
        if port.VISIBLE not in self.inputs:
            return {False: self._causal_mask()}
        g, found = self.g, dict[bool, ir.Value]()
        places = g.op("Range", g.const(0), g.op("Squeeze", self.inputs[port.KV_LENGTH]), g.const(1))
        for slides in self.turns:
            seen = g.op("Less", places, self._told(1))
            if slides:
                seen = g.op("And", g.op("GreaterOrEqual", places, self._told(0)), seen)
            found[slides] = g.op("Where", seen, g.const(0.0, self.dtype), g.const(MASKED, self.dtype))
        return found

    def _told(self, number: int) -> ir.Value:
        """The first place that each row sees, or the end of those: ``[slots, 1, sequence, 1]``."""
        g = self.g
        return g.op("Unsqueeze", g.op("Gather", self.inputs[port.VISIBLE], g.const(number), axis=0), g.const([1, 3]))

    def _causal_mask(self) -> ir.Value:
        """Additive ``[slots, 1, sequence, kv_length]``: row ``i`` sees places up to ``write_index + i``."""
        g = self.g
        sequence = g.op("Squeeze", g.op("Shape", self.inputs[port.HIDDEN], start=1, end=2))
        steps = g.op("Unsqueeze", g.op("Range", g.const(0), sequence, g.const(1)), g.const([1]))
        rows = g.op("Add", g.op("Unsqueeze", self.inputs[port.WRITE_INDEX], g.const([1, 2, 3])), steps)
        places = g.op("Range", g.const(0), g.op("Squeeze", self.inputs[port.KV_LENGTH]), g.const(1))
        seen = g.op("LessOrEqual", places, rows)
        return g.op("Where", seen, g.const(0.0, self.dtype), g.const(MASKED, self.dtype))

    def _attended(self, query: ir.Value, keys: ir.Value, values: ir.Value, mask: ir.Value) -> ir.Value:
        """What each head of each row takes of ``values``. Scores that are capped are written out: the operator would
        cap them in some versions after the mask, and TensorRT knows no cap."""
        g, dims = self.g, self.dims
        if dims.score_cap is None:
            return g.op("Attention", query, keys, values, mask, scale=dims.scale)
        groups = dims.heads // dims.kv_heads
        scaled = g.op("Mul", query, g.const(dims.scale, self.dtype))  # first, so that no product leaves float16
        split = g.op("Reshape", scaled, g.const([0, dims.kv_heads, groups, -1, dims.head_dim]))
        transposed = g.op("Unsqueeze", g.op("Transpose", keys, perm=[0, 1, 3, 2]), g.const([2]))
        scores = self._capped(g.cast(g.op("MatMul", split, transposed), "float32"))
        wide = g.cast(g.op("Unsqueeze", mask, g.const([1])), "float32")
        weights = g.cast(g.op("Softmax", g.op("Add", scores, wide), axis=-1), self.dtype)
        taken = g.op("MatMul", weights, g.op("Unsqueeze", values, g.const([2])))
        return g.op("Reshape", taken, g.const([0, dims.heads, -1, dims.head_dim]))

    def _capped(self, scores: ir.Value) -> ir.Value:
        """Float32 scores of queries and keys, by the decoder's cap."""
        return scores if self.dims.score_cap is None else _below(self.g, scores, self.dims.score_cap)

    def _activated(self, gate: ir.Value) -> ir.Value:
        if self.dims.activation == "silu":
            return self.g.op("Mul", gate, self.g.op("Sigmoid", gate))
        return self.g.op("Gelu", gate, approximate="tanh")

    def _norm(self, name: str, x: ir.Value, width: int) -> ir.Value:
        scale = self.g.weight(f"{name}.weight", self.weights.vector(f"{name}.weight", width))
        return self.g.op("RMSNormalization", x, scale, epsilon=self.dims.norm_epsilon)

    def _linear(self, name: str, x: ir.Value, inputs: int, outputs: int, *, bias: bool) -> ir.Value:
        product = self.g.product(x, f"{name}.weight", self.weights.linear(name, inputs, outputs))
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

    def _scored_turn(self, turn: Turn) -> Turn:
        """Of the scored rows of each slot."""
        if self.dims.frequency_axes:
            return tuple(self._scored(rows, axis=1) for rows in turn)
        *tables, positions = turn
        return *tables, self._scored(positions, axis=1)

    def _scored(self, x: ir.Value, axis: int) -> ir.Value:
        return self.g.op("Gather", x, self.inputs[port.SCORED], axis=axis)

    def _cached(self, name: str, fresh: ir.Value) -> ir.Value:
        """Writes ``fresh`` into its cache and returns the filled part, ``[slots, kv_heads, kv_length, head_dim]``."""
        g = self.g
        present = g.op("TensorScatter", self.inputs[port.past(name)], fresh, self.inputs[port.WRITE_INDEX])
        self.caches.append(present)
        return g.op("Slice", present, g.const([0]), self.inputs[port.KV_LENGTH], g.const([2]))

    def _received(self, query: ir.Value, keys: ir.Value, mask: ir.Value) -> ir.Value:
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
        scores = self._capped(g.op("Mul", g.op("MatMul", rows, transposed), g.const(dims.scale, "float32")))
        wide = g.cast(g.op("Unsqueeze", g.op("Gather", mask, reference, axis=2), g.const([1])), "float32")
        weights = g.op("Softmax", g.op("Add", scores, wide), axis=-1)
        places = g.op("Add", visual, g.op("Gather", self.inputs[port.WRITE_INDEX], g.const(0)))
        received = g.op("Gather", weights, places, axis=4)
        return g.op("ReduceMean", received, g.const([1, 2, 3]), keepdims=0)


def _turns(
    g: GraphBuilder,
    dims: DecoderSpec,
    slides: Sequence[bool],
    max_positions: int,
    dtype: str,
    inputs: Mapping[str, ir.Value],
) -> dict[bool, Turn]:
    """By whether a layer slides: sliding layers may look up tables of their own."""
    found: dict[bool, Turn] = {}
    for local in slides:
        if found and dims.local_rotary is None:
            found[local] = next(iter(found.values()))
            continue
        name, spec = "rotary", dims
        if local and dims.local_rotary is not None:
            name, spec = "local_rotary", replace(dims, rotary=dims.local_rotary)
        tables = _rotary(g, spec, max_positions, dtype, name)
        found[local] = _turn(g, dims, tables, inputs[port.POSITION_IDS])
    return found


def _below(g: GraphBuilder, x: ir.Value, cap: float) -> ir.Value:
    """Float32 ``x``, softly held between ``-cap`` and ``cap``."""
    return g.op("Mul", g.op("Tanh", g.op("Mul", x, g.const(1.0 / cap, "float32"))), g.const(cap, "float32"))


def _rotary(g: GraphBuilder, dims: DecoderSpec, max_positions: int, dtype: str, name: str) -> tuple[ir.Value, ir.Value]:
    """Cosine and sine tables ``[max_positions, head_dim / 2]``, computed in float32 as the checkpoint does."""
    turned = rotary(dims)
    frequencies = np.asarray(turned.inverse_frequencies, dtype=np.float32)
    angles = np.arange(max_positions, dtype=np.float32)[:, None] * frequencies[None]
    tables = [(function(angles) * np.float32(turned.gain)).astype(np.float32) for function in (np.cos, np.sin)]
    cos, sin = (ir.tensor(table.astype(DTYPES[dtype].numpy())) for table in tables)
    return g.weight(f"{name}_cos", cos), g.weight(f"{name}_sin", sin)


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
    logits = g.cast(g.product(normed, "lm_head.weight", head), "float32")
    return logits if dims.logit_cap is None else _below(g, logits, dims.logit_cap)
