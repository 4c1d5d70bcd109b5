"""The Llama decoder once more, in plain numpy, from its definition: the whole sequence at once, no cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass
class Trace:
    """What a run of layers computed for ``rows`` rows; keys and values are ``[kv_heads, rows, head_dim]`` a layer."""

    hidden: Array
    keys: list[Array] = field(default_factory=list)
    values: list[Array] = field(default_factory=list)
    attention: Array = field(default_factory=lambda: np.zeros(0))  # [heads, rows, rows], of the last layer


@dataclass(frozen=True)
class NumpyLlama:
    """``weights`` by their names within the decoder; every result is rounded to ``dtype``.

    In float64 this is the reference; in float16 or float32 it is the same-precision baseline whose own error says what
    an implementation may err.
    """

    weights: Mapping[str, Array]
    heads: int
    kv_heads: int
    head_dim: int
    epsilon: float
    frequencies: Array  # [head_dim / 2], radians per position
    dtype: str = "float64"

    def layers(self, hidden: Array, positions: Array, first: int, last: int) -> Trace:
        """Layers ``first`` to ``last`` on ``hidden`` ``[rows, width]`` under a causal mask."""
        trace = Trace(self._round(hidden))
        for layer in range(first, last + 1):
            self._layer(f"layers.{layer}", trace, positions)
        return trace

    def logits(self, hidden: Array) -> Array:
        """Scores ``[vocabulary]`` after the last row."""
        head = "lm_head.weight" if "lm_head.weight" in self.weights else "embed_tokens.weight"
        scores: Array = self._round(self._norm("norm", hidden[-1:]) @ self._weight(head).T)[0]
        return scores

    def _layer(self, prefix: str, trace: Trace, positions: Array) -> None:
        normed = self._norm(f"{prefix}.input_layernorm", trace.hidden)
        query = self._rotate(self._split(self._linear(f"{prefix}.self_attn.q_proj", normed), self.heads), positions)
        key = self._rotate(self._split(self._linear(f"{prefix}.self_attn.k_proj", normed), self.kv_heads), positions)
        value = self._split(self._linear(f"{prefix}.self_attn.v_proj", normed), self.kv_heads)
        trace.keys.append(key)
        trace.values.append(value)
        rows = len(positions)
        attention = np.zeros((self.heads, rows, rows), dtype=self._wide)
        attended = np.zeros((rows, self.heads * self.head_dim), dtype=self._wide)
        for head in range(self.heads):
            group = head * self.kv_heads // self.heads  # query heads share KV heads in runs
            scores = self._round(query[head] @ key[group].T / np.sqrt(self.head_dim))
            scores = np.where(np.tri(rows, dtype=bool), scores, -np.inf)
            exponents = np.exp(scores - scores.max(axis=-1, keepdims=True))
            attention[head] = self._round(exponents / exponents.sum(axis=-1, keepdims=True))
            attended[:, head * self.head_dim :][:, : self.head_dim] = self._round(attention[head] @ value[group])
        trace.attention = attention
        hidden = self._round(trace.hidden + self._linear(f"{prefix}.self_attn.o_proj", attended))
        normed = self._norm(f"{prefix}.post_attention_layernorm", hidden)
        gate, up = self._linear(f"{prefix}.mlp.gate_proj", normed), self._linear(f"{prefix}.mlp.up_proj", normed)
        activated = self._round(self._round(gate / (1 + np.exp(-gate))) * up)
        trace.hidden = self._round(hidden + self._linear(f"{prefix}.mlp.down_proj", activated))

    def _rotate(self, x: Array, positions: Array) -> Array:
        """Pairs ``(i, i + head_dim / 2)`` turned by ``position * frequency[i]``."""
        angles = positions[:, None] * self.frequencies[None]
        cos, sin = self._round(np.cos(angles)), self._round(np.sin(angles))
        low, high = np.split(x, 2, axis=-1)
        return self._round(np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1))

    def _split(self, x: Array, heads: int) -> Array:
        return x.reshape(len(x), heads, self.head_dim).transpose(1, 0, 2)

    def _linear(self, name: str, x: Array) -> Array:
        product = self._round(x @ self._weight(f"{name}.weight").T)
        bias = f"{name}.bias"
        return self._round(product + self._weight(bias)) if bias in self.weights else product

    def _norm(self, name: str, x: Array) -> Array:
        scaled = self._round(x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.epsilon))
        return self._round(scaled * self._weight(f"{name}.weight"))

    def _weight(self, name: str) -> Array:
        return self._round(self.weights[name])

    def _round(self, x: Array) -> Array:
        return np.asarray(x).astype(self.dtype).astype(self._wide)

    @property
    def _wide(self) -> str:
        """What products are summed in."""
        return "float64" if self.dtype == "float64" else "float32"
