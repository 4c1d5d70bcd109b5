"""A decoder as data: all that its graphs, its estimate and its reference are made from, read from a ``text_config``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from clasp_trt.bundle import DecoderDims


@dataclass(frozen=True)
class DecoderSpec(DecoderDims):
    """A pre-norm decoder with rotary positions, grouped heads and a gated SiLU MLP.

    ``rotary`` are transformers' rope parameters, defaults filled in. ``window``: how many positions a row sees back,
    or None for all. ``qkv_bias``, ``output_bias`` and ``mlp_bias`` say which linear layers have biases, ``qk_norm``
    whether queries and keys pass an RMSNorm of a head's width before they are turned. ``tied``: the output head is the
    embedding, which a checkpoint stores once and a bundle twice, in the first graph and in the last.
    ``frequency_axes``: which of several positions of a row each rotary frequency turns by; empty where a row has one.
    """

    mlp: int
    norm_epsilon: float
    positions: int
    window: int | None
    rotary: Mapping[str, Any]
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norm: bool
    tied: bool
    frequency_axes: tuple[int, ...] = ()

    @property
    def dims(self) -> DecoderDims:
        """What a manifest says of it."""
        return DecoderDims(**{field.name: getattr(self, field.name) for field in fields(DecoderDims)})

    @property
    def max_positions(self) -> int:
        """The longest sequence in which every row sees all that come before it: only such ones are compiled."""
        return self.positions if self.window is None else min(self.positions, self.window)

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
    def layer_parameters(self) -> int:
        """One layer: matrices, their biases where it has any, and its RMSNorms."""
        biases = self.attention_width + 2 * self.kv_width if self.qkv_bias else 0
        biases += self.width if self.output_bias else 0
        biases += 2 * self.mlp + self.width if self.mlp_bias else 0
        norms = 2 * self.width + (2 * self.head_dim if self.qk_norm else 0)
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
