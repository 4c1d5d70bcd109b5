"""The graph of a tower whose patches lie in a grid of any size, written node by node from the weights.

Rows stay in the order in which a processor gives them, so that the features of all layers lie side by side. A block
that attends in windows gathers its rows by window, padded to whole ones under a mask, and gathers them back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from clasp_trt.chain import names, port, vision_ports
from clasp_trt.export.decoder.segment import MASKED
from clasp_trt.export.graph import DTYPES, GraphBuilder
from clasp_trt.export.merger import linear, merged, norm
from clasp_trt.export.towers.grid import GridSpec
from clasp_trt.export.weights.graph import Weights

_SIGMOIDS = {"silu": 1.0, "quick_gelu": 1.702}
"""Activations x times the sigmoid of so many x."""
LONGEST = 4096
"""Patches of a side: 200 to 1 of 16384 tokens are less."""


def grid_graph(spec: GridSpec, layers: Sequence[int], weights: Weights, dtype: str) -> ir.Model:
    """The graph from ``patches`` float32 ``[frames, patches, numbers]`` and what a processor says of their grid to
    ``features`` ``[frames, layers, patches, width]`` in ``dtype`` and ``cls_saliency`` float32 ``[frames, patches]``;
    and to ``deepstack`` ``[sets, visual_tokens, decoder's width]`` in towers that have it.

    ``weights`` are named ``tower.`` and as transformers names those of a tower alone, the patch embedding a matrix.
    """
    block = spec.saliency_layer(layers)
    deepest = max(*layers, block, *(number + 1 for number in spec.deepstack))
    read = ", ".join(map(str, layers))
    g = GraphBuilder(names.VISION, f"Vision tower of any grid up to layer {deepest}; support layers {read}.")
    stacked = (len(spec.deepstack), spec.merger.out) if spec.deepstack else None
    taken, given = vision_ports.grid_vision(
        len(layers), spec.patch, spec.width, block, dtype,
        window=spec.patching.window, table=spec.table, deepstack=stacked,
    )  # fmt: skip
    inputs = {each.name: value for each, value in zip(taken, g.take(taken), strict=True)}
    tower = _Tower(g, spec, weights, dtype, inputs)

    states = [tower.embedded()]
    sets: list[ir.Value] = []  # each [1, visual_tokens, width], in the order of the decoder's layers
    for number in range(deepest):
        hidden = tower.block(number, states[-1], is_watched=number + 1 == block)
        states.append(hidden)
        if number in spec.deepstack:
            name = f"tower.deepstack_merger_list.{spec.deepstack.index(number)}"
            sets.append(merged(g, spec.stacked, weights, name, ("norm", "linear_fc1", "linear_fc2"), hidden))
    features = g.op("Concat", *(g.op("Unsqueeze", states[layer], g.const([1])) for layer in layers), axis=1)
    assert tower.saliency is not None
    g.give(given, features, tower.saliency, *((g.op("Concat", *sets, axis=0),) if sets else ()))
    return g.model()


class _Tower:
    """What the blocks share: inputs, rotary tables, masks and sizes; and the saliency, once its block is written."""

    def __init__(
        self, g: GraphBuilder, spec: GridSpec, weights: Weights, dtype: str, inputs: Mapping[str, ir.Value]
    ) -> None:
        self.g, self.spec, self.weights, self.dtype, self.inputs = g, spec, weights, dtype, inputs
        self.frames = g.op("Shape", inputs[port.PATCHES], start=0, end=1)
        self.head = spec.width // spec.heads
        self.rotary = self._rotary()
        if spec.patching.window is not None:
            self.windows = g.op("Shape", inputs[port.WINDOW_VALID], start=0, end=1)
            self.slots = spec.patching.window**2
            self.mask = self._window_mask()
        self.saliency: ir.Value | None = None

    def embedded(self) -> ir.Value:
        """The input of the first block, ``[frames, patches, width]``."""
        g, spec = self.g, self.spec
        rows = g.cast(self.inputs[port.PATCHES], self.dtype)
        hidden = linear(g, self.weights, "tower.patch_embed.proj", rows, spec.patch, spec.width, bias=spec.patch_bias)
        if spec.table is None:
            return hidden
        table = self.weights.tensor("tower.pos_embed.weight", (spec.table**2, spec.width))
        taps = g.op("Gather", g.weight("tower.pos_embed.weight", table), self.inputs[port.TABLE_INDEX], axis=0)
        shares = g.op("Unsqueeze", g.cast(self.inputs[port.TABLE_WEIGHT], self.dtype), g.const([-1]))
        return g.op("Add", hidden, g.op("ReduceSum", g.op("Mul", taps, shares), g.const([1]), keepdims=0))

    def block(self, number: int, hidden: ir.Value, *, is_watched: bool) -> ir.Value:
        """One pre-norm block; :attr:`saliency` is that of the one that ``is_watched``."""
        g, spec, prefix = self.g, self.spec, f"tower.blocks.{number}"
        width = spec.width
        normed = norm(g, self.weights, f"{prefix}.norm1", hidden, spec.norm, width)
        joined = linear(g, self.weights, f"{prefix}.attn.qkv", normed, width, 3 * width)
        split = g.ops("Split", joined, outputs=3, axis=-1, num_outputs=3)
        query, key, value = (
            g.op("Transpose", g.op("Reshape", each, g.const([0, 0, spec.heads, self.head])), perm=[0, 2, 1, 3])
            for each in split
        )
        query, key = (g.op("RotaryEmbedding", each, *self.rotary) for each in (query, key))
        if is_watched:
            self.saliency = self._received(query, key)
        attend = self._attend if number in spec.full_blocks else self._attend_in_windows
        attended = g.op("Transpose", attend(query, key, value), perm=[0, 2, 1, 3])
        rows = g.op("Reshape", attended, g.const([0, 0, width]))
        hidden = g.op("Add", hidden, linear(g, self.weights, f"{prefix}.attn.proj", rows, width, width))
        normed = norm(g, self.weights, f"{prefix}.norm2", hidden, spec.norm, width)
        return g.op("Add", hidden, self._mlp(f"{prefix}.mlp", normed))

    def _mlp(self, name: str, normed: ir.Value) -> ir.Value:
        g, spec = self.g, self.spec
        *first, down = (f"{name}.{layer}" for layer in spec.mlp_layers)
        inner, *others = (linear(g, self.weights, each, normed, spec.width, spec.mlp) for each in first)
        inner = self._activated(inner)
        for other in others:
            inner = g.op("Mul", inner, other)
        return linear(g, self.weights, down, inner, spec.mlp, spec.width)

    def _activated(self, x: ir.Value) -> ir.Value:
        g, name = self.g, self.spec.activation
        if name in _SIGMOIDS:
            turned = x if name == "silu" else g.op("Mul", x, g.const(_SIGMOIDS[name], self.dtype))
            return g.op("Mul", x, g.op("Sigmoid", turned))
        return g.op("Gelu", x, approximate="tanh" if name == "gelu_pytorch_tanh" else "none")

    def _attend(self, query: ir.Value, key: ir.Value, value: ir.Value) -> ir.Value:
        return self.g.op("Attention", query, key, value, scale=1.0 / math.sqrt(self.head))

    def _attend_in_windows(self, *rows: ir.Value) -> ir.Value:
        """``[frames, heads, patches, head]``, of each patch and those in its window."""
        g, spec = self.g, self.spec
        query, key, value = (self._by_window(each) for each in rows)
        attended = g.op("Attention", query, key, value, self.mask, scale=1.0 / math.sqrt(self.head))
        sizes = g.const([spec.heads, self.slots, self.head])
        apart = g.op("Reshape", attended, g.op("Concat", self.frames, self.windows, sizes, axis=0))
        together = g.op("Concat", self.frames, g.const([spec.heads, -1, self.head]), axis=0)
        slots = g.op("Reshape", g.op("Transpose", apart, perm=[0, 2, 1, 3, 4]), together)
        return g.op("Gather", slots, self.inputs[port.ROW_SLOTS], axis=2)

    def _by_window(self, rows: ir.Value) -> ir.Value:
        """``[frames * windows, heads, slots, head]``."""
        g, spec = self.g, self.spec
        slots = g.op("Gather", rows, self.inputs[port.WINDOW_ROWS], axis=2)
        sizes = (self.frames, g.const([spec.heads]), self.windows, g.const([self.slots, self.head]))
        apart = g.op("Transpose", g.op("Reshape", slots, g.op("Concat", *sizes, axis=0)), perm=[0, 2, 1, 3, 4])
        return g.op("Reshape", apart, g.const([-1, spec.heads, self.slots, self.head]))

    def _window_mask(self) -> ir.Value:
        """Additive ``[frames * windows, 1, slots, slots]``: slots without a patch are seen by none."""
        g = self.g
        seen = g.op("Where", self.inputs[port.WINDOW_VALID], g.const(0.0, self.dtype), g.const(MASKED, self.dtype))
        sizes = g.op("Concat", self.frames, self.windows, g.const([self.slots, self.slots]), axis=0)
        every = g.op("Expand", g.op("Unsqueeze", seen, g.const([0, 2])), sizes)
        return g.op("Reshape", every, g.const([-1, 1, self.slots, self.slots]))

    def _rotary(self) -> tuple[ir.Value, ir.Value]:
        """Cosine and sine ``[frames, patches, head / 2]``: half turns by the row, half by the column."""
        g, spec = self.g, self.spec
        steps = np.arange(0, self.head // 2, 2, dtype=np.float32) / np.float32(self.head // 2)
        frequencies = (1.0 / np.float32(spec.theta) ** steps).astype(np.float32)
        angles = np.arange(LONGEST, dtype=np.float32)[:, None] * frequencies[None]
        found = []
        for name, function in (("rotary_cos", np.cos), ("rotary_sin", np.sin)):
            table = g.weight(name, ir.tensor(function(angles).astype(DTYPES[self.dtype].numpy())))
            places = g.op("Gather", table, self.inputs[port.POSITIONS], axis=0)  # [2, patches, head / 4]
            rows = g.op("Reshape", g.op("Transpose", places, perm=[1, 0, 2]), g.const([1, -1, self.head // 2]))
            found.append(g.op("Expand", rows, g.op("Concat", self.frames, g.const([1, 1]), axis=0)))
        return found[0], found[1]

    def _received(self, query: ir.Value, key: ir.Value) -> ir.Value:
        """Float32 ``[frames, patches]``: what each patch receives from all, mean over heads and rows (Eq. 4).

        One head at a time, and of that one patch of each token at a time, so that no more scores live at once.
        """
        g, spec = self.g, self.spec
        scale = g.const(1.0 / math.sqrt(self.head), "float32")
        parts, total = spec.patching.merge**2, None
        for head in range(spec.heads):
            turned, keys = (g.cast(g.op("Gather", each, g.const(head), axis=1), "float32") for each in (query, key))
            keys = g.op("Transpose", keys, perm=[0, 2, 1])
            apart = g.op("Reshape", turned, g.op("Concat", self.frames, g.const([-1, parts, self.head]), axis=0))
            for part in range(parts):
                scores = g.op("MatMul", g.op("Mul", g.op("Gather", apart, g.const(part), axis=2), scale), keys)
                mean = g.op("ReduceMean", g.op("Softmax", scores, axis=-1), g.const([1]), keepdims=0)
                total = mean if total is None else g.op("Add", total, mean)
        assert total is not None
        return g.op("Div", total, g.const(float(spec.heads * parts), "float32"))
