"""A ``text_config`` to a :class:`DecoderSpec`: one entry a decoder, by its ``model_type``.

What a config leaves out has the value that transformers gives it, tabled here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clasp_trt.export.config import Settings
from clasp_trt.export.decoder.spec import DecoderSpec

STATIC_ROTARY = ("default", "linear", "llama3", "yarn")
"""Rotary scalings whose frequencies do not hang on the length of the input."""
_OWN_LENGTH = ("llama3", "yarn")  # these also hold the length that the model was trained at before

_COMMON: Mapping[str, Any] = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
_QWEN: Mapping[str, Any] = {
    **_COMMON,
    "intermediate_size": 22016,
    "num_key_value_heads": 32,
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
}


@dataclass(frozen=True)
class _Kind:
    """What a ``model_type`` adds to the common decoder: defaults, and which of its traits are the config's to say.

    ``qkv_bias`` None: as ``attention_bias`` says, and so the output's bias. ``splits_width``: the heads must divide the
    width, whatever ``head_dim`` says.
    """

    defaults: Mapping[str, Any]
    qkv_bias: bool | None
    qk_norm: bool = False
    splits_width: bool = False


_KINDS: Mapping[str, _Kind] = {
    "llama": _Kind(
        {
            **_COMMON,
            "intermediate_size": 11008,
            "vocab_size": 32000,
            "max_position_embeddings": 2048,
            "attention_bias": False,
            "mlp_bias": False,
        },
        qkv_bias=None,
        splits_width=True,
    ),
    "mistral": _Kind(
        {
            **_COMMON,
            "intermediate_size": 14336,
            "num_key_value_heads": 8,
            "vocab_size": 32000,
            "max_position_embeddings": 131072,
            "sliding_window": 4096,
        },
        qkv_bias=False,
    ),
    "qwen2": _Kind(_QWEN, qkv_bias=True),
    "qwen3": _Kind({**_QWEN, "head_dim": 128, "attention_bias": False}, qkv_bias=None, qk_norm=True),
}
DECODERS = tuple(_KINDS)
"""The ``model_type`` of every decoder that can be compiled."""


def decoder(text: Settings, *, tied: bool = False) -> DecoderSpec:
    """The decoder that ``text`` describes.

    ``tied``: the model around it says that embedding and output head are one; the ``text_config`` may say so too.
    Raises :class:`~clasp_trt.errors.CheckpointError` for a decoder that cannot be compiled.
    """
    text = text.over({"model_type": "llama"})
    kind = _KINDS[text.require("model_type", *DECODERS)]
    text = text.over(kind.defaults)
    text.activation("hidden_act", "silu")
    width, heads = text.count("hidden_size"), text.count("num_attention_heads")
    kv_heads, head_dim = text.count("num_key_value_heads", heads), text.count("head_dim", max(1, width // heads))
    if kind.splits_width and width % heads:
        raise text.wrong("num_attention_heads", f"a divisor of the width {width}")
    if heads % kv_heads:
        raise text.wrong("num_key_value_heads", f"a divisor of the {heads} attention heads")
    if head_dim % 2:
        raise text.wrong("head_dim", f"an even number, for rotary positions, not {head_dim}")
    biased = kind.qkv_bias is None and text.flag("attention_bias")
    positions = text.count("max_position_embeddings")
    return DecoderSpec(
        layers=text.count("num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab_size=text.count("vocab_size"),
        axes=1,
        visible="causal",
        mlp=text.count("intermediate_size"),
        norm_epsilon=text.positive("rms_norm_eps"),
        positions=positions,
        window=_window(text, kind.defaults),
        rotary=_rotary(text, positions),
        qkv_bias=biased if kind.qkv_bias is None else kind.qkv_bias,
        output_bias=biased,
        mlp_bias=text.flag("mlp_bias") if "mlp_bias" in kind.defaults else False,
        qk_norm=kind.qk_norm,
        tied=tied or text.flag("tie_word_embeddings"),
    )


def _window(text: Settings, traits: Mapping[str, Any]) -> int | None:
    """How many positions a row of some layer sees back, or None if every layer sees all."""
    if "sliding_window" not in traits or text.get("sliding_window") is None:
        return None
    if "use_sliding_window" in traits:  # layers from some depth on, and only if asked for
        kinds = text.get("layer_types")
        deep = text.count("max_window_layers") < text.count("num_hidden_layers")
        slides = "sliding_attention" in kinds if isinstance(kinds, list) else deep
        if not (text.flag("use_sliding_window") and slides):
            return None
    return text.count("sliding_window")


def _rotary(text: Settings, positions: int) -> dict[str, Any]:
    """Rope parameters as transformers completes them: ``rope_type``, ``rope_theta``, and what the type needs."""
    name = "rope_scaling" if text.get("rope_scaling") else "rope_parameters"
    given = text.get(name) or {}
    if not isinstance(given, dict) or any(isinstance(value, dict) for value in given.values()):
        raise text.wrong(name, "one object of numbers for all layers")
    kind = given.get("rope_type", given.get("type", "default"))
    if kind not in STATIC_ROTARY:  # others hang on the input's length
        raise text.wrong(name, f"a rope_type among {', '.join(STATIC_ROTARY)}")
    if any(part not in (None, 1) for part in (given.get("partial_rotary_factor"), text.get("partial_rotary_factor"))):
        raise text.wrong("partial_rotary_factor", "1, so that a head is turned whole")
    found = {"rope_theta": text.positive("rope_theta"), **given, "rope_type": kind}
    if kind in _OWN_LENGTH:
        found.setdefault("original_max_position_embeddings", positions)
    return found
