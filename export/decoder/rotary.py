"""Rotary frequencies, by transformers' own code for each kind of scaling."""

from __future__ import annotations

from dataclasses import dataclass

from clasp_trt.export.decoder.spec import DecoderSpec


@dataclass(frozen=True)
class Rotary:
    """``inverse_frequencies`` are radians per position, ``[head_dim / 2]``, any scaling included; sine and cosine are
    multiplied by ``gain``."""

    inverse_frequencies: tuple[float, ...]
    gain: float


def rotary(spec: DecoderSpec) -> Rotary:
    """The frequencies that ``spec.rotary`` stands for."""
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config = LlamaConfig(
        hidden_size=spec.attention_width,
        num_attention_heads=spec.heads,
        head_dim=spec.head_dim,
        max_position_embeddings=spec.positions,
        rope_parameters={name: value for name, value in spec.rotary.items() if not name.startswith("mrope_")},
    )
    embedding = LlamaRotaryEmbedding(config=config)
    return Rotary(tuple(embedding.inv_freq.tolist()), float(embedding.attention_scaling))
