"""A decoder as data: all that its graphs, its estimate and its reference are made from, read from a ``text_config``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from clasp_trt.bundle import DecoderDims


@dataclass(frozen=True)
class DecoderSpec(DecoderDims):
    """A pre-norm decoder with rotary positions, grouped heads and a gated MLP.

    ``rotary`` are transformers' rope parameters, defaults filled in. ``window``: how many positions a row sees back,
    itself among them, or None for all: in the layers that are ``sliding``, or in some that the graphs do not tell
    apart, which then take no longer sequences. ``qkv_bias``, ``output_bias`` and ``mlp_bias`` say which linear layers
    have biases, ``qk_norm`` whether queries and keys pass an RMSNorm of a head's width before they are turned.
    ``tied``: the output head is the embedding, which a checkpoint stores once and a bundle twice, in the first graph
    and in the last.
    ``frequency_axes``: which of several positions of a row each rotary frequency turns by; empty where a row has one.

    ``activation`` is that of the MLP's gate. ``norm_offset``: RMSNorms multiply by 1 more than what is stored;
    ``post_norms``: what attention and MLP add passes one of its own. ``query_scalar`` stands for the width of a head in
    the scale of scores; scores are held below ``score_cap`` and logits below ``logit_cap``, by their tanh.
    ``scales_embedding``: embedded text is multiplied by the root of the width. ``local_rotary`` are the rope parameters
    of sliding layers, where they have others.
    """

    mlp: int
    norm_epsilon: float
    positions: int
    rotary: Mapping[str, Any]
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norm: bool
    tied: bool
    frequency_axes: tuple[int, ...] = ()
    activation: str = "silu"
    norm_offset: bool = False
    post_norms: bool = False
    query_scalar: float | None = None
    score_cap: float | None = None
    logit_cap: float | None = None
    scales_embedding: bool = False
    sliding: tuple[bool, ...] = ()
    local_rotary: Mapping[str, Any] | None = None

    @property
    def dims(self) -> DecoderDims:
        """What a manifest says of it."""
        values = {field.name: getattr(self, field.name) for field in fields(DecoderDims)}
        return DecoderDims(**{**values, "window": self.window if any(self.sliding) else None})

    @property
    def max_positions(self) -> int:
        """The longest sequence that is compiled: one whose rows see all that come before them, if the graphs know of no
        window."""
        bounded = self.window is not None and not any(self.sliding)
        return min(self.positions, self.window) if bounded and self.window is not None else self.positions

    @property
    def scale(self) -> float:
        """What the products of queries and keys are multiplied by."""
        return 1.0 / math.sqrt(self.head_dim if self.query_scalar is None else self.query_scalar)

    def slides(self, layer: int) -> bool:
        """Whether the rows of a layer see a :attr:`window` alone."""
        return bool(self.sliding) and self.sliding[layer]

    def short_sighted(self, tokens: int) -> frozenset[int]:
        """The layers in which ``tokens`` visual tokens before a question fill the window of its rows, so that some may
        be out of sight; none where prompts see all of themselves."""
        if self.window is None or self.visible == "prefix" or tokens < self.window:
            return frozenset()
        return frozenset(layer for layer, slides in enumerate(self.sliding) if slides)

    @property
    def attention_width(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of all key heads together, and of all value heads."""
        return self.kv_heads * self.head_dim

    @property
    def kv_matrices(self) -> int:
        """Weights of one layer's key and value projections: the part that even the last layer runs on every row."""
        return 2 * self.width * self.kv_width

    @property
    def row_matrices(self) -> int:
        """Weights of one layer's other matrices: query, output, and the gated MLP."""
        return 2 * self.width * self.attention_width + 3 * self.width * self.mlp

    @property
    def layer_shapes(self) -> tuple[tuple[int, int], ...]:
        """Outputs and inputs of one layer's matrices."""
        queries, keys = (self.attention_width, self.width), (self.kv_width, self.width)
        gate = (self.mlp, self.width)
        return (queries, keys, keys, queries[::-1], gate, gate, gate[::-1])

    @property
    def layer_parameters(self) -> int:
        """One layer: matrices, their biases where it has any, and its RMSNorms."""
        biases = self.attention_width + 2 * self.kv_width if self.qkv_bias else 0
        biases += self.width if self.output_bias else 0
        biases += 2 * self.mlp + self.width if self.mlp_bias else 0
        norms = (4 if self.post_norms else 2) * self.width + (2 * self.head_dim if self.qk_norm else 0)
        return self.kv_matrices + self.row_matrices + biases + norms

    @property
    def embedding_parameters(self) -> int:
        return self.vocab_size * self.width

    @property
    def output_parameters(self) -> int:
        """The final RMSNorm and the output head, as the last graph holds them."""
        return self.width + self.embedding_parameters

    @property
    def parameters(self) -> int:
        """What the checkpoint stores."""
        head = 0 if self.tied else self.embedding_parameters
        return self.embedding_parameters + self.layers * self.layer_parameters + self.width + head
