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
_QWEN_VL: Mapping[str, Any] = {
    **_QWEN,
    "hidden_size": 8192,
    "intermediate_size": 29568,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 152064,
    "max_window_layers": 80,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1000000.0,
}


@dataclass(frozen=True)
class _Kind:
    """What a ``model_type`` adds to the common decoder: defaults, and which of its traits are the config's to say.

    ``qkv_bias`` None: as ``attention_bias`` says, and so the output's bias. ``splits_width``: the heads must divide the
    width, whatever ``head_dim`` says. ``sections``: positions have three axes, and so many frequencies turn by each
    where the config does not say; ``interleaved`` ones take turns, others follow one another. ``other_default`` is
    what the default scaling is called in old configs.
    """

    defaults: Mapping[str, Any]
    qkv_bias: bool | None
    qk_norm: bool = False
    splits_width: bool = False
    sections: tuple[int, int, int] | None = None
    interleaved: bool = False
    other_default: str | None = None


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
    "qwen2_vl_text": _Kind(_QWEN_VL, qkv_bias=True, splits_width=True, sections=(16, 24, 24), other_default="mrope"),
    "qwen2_5_vl_text": _Kind(_QWEN_VL, qkv_bias=True, splits_width=True, sections=(16, 24, 24), other_default="mrope"),
    "qwen3_vl_text": _Kind(
        {
            **_COMMON,
            "num_hidden_layers": 32,
            "intermediate_size": 22016,
            "num_key_value_heads": 32,
            "head_dim": 128,
            "vocab_size": 151936,
            "max_position_embeddings": 128000,
            "rope_theta": 500000.0,
            "attention_bias": False,
        },
        qkv_bias=None,
        qk_norm=True,
        sections=(24, 20, 20),
        interleaved=True,
    ),
}
DECODERS = tuple(name for name, kind in _KINDS.items() if kind.sections is None)
"""The ``model_type`` of every decoder that can be compiled and counts its rows."""


def decoder(text: Settings, *, tied: bool = False, known: str | None = None) -> DecoderSpec:
    """The decoder that ``text`` describes: the ``known`` one, or that of :data:`DECODERS` which it names.

    ``tied``: the model around it says that embedding and output head are one; the ``text_config`` may say so too.
    Raises :class:`~clasp_trt.errors.CheckpointError` for a decoder that cannot be compiled.
    """
    kind = _KINDS[known or text.over({"model_type": "llama"}).require("model_type", *DECODERS)]
    text = text.over(kind.defaults)
    text.activation("hidden_act", "silu")
    width, heads = text.count("hidden_size"), text.count("num_attention_heads")
    kv_heads, head_dim = text.count("num_key_value_heads", heads), text.count("head_dim", max(1, width // heads))
    if kind.splits_width and width % heads:
        raise text.wrong("num_attention_heads", f"a divisor of the width {width}")
    if kind.splits_width and kind.sections is not None and head_dim != width // heads:
        raise text.wrong("head_dim", f"the width {width} over the {heads} attention heads, or nothing")
    if heads % kv_heads:
        raise text.wrong("num_key_value_heads", f"a divisor of the {heads} attention heads")
    if head_dim % 2:
        raise text.wrong("head_dim", f"an even number, for rotary positions, not {head_dim}")
    biased = kind.qkv_bias is None and text.flag("attention_bias")
    positions = text.count("max_position_embeddings")
    rotary = rotary_parameters(text, positions, kind.other_default)
    return DecoderSpec(
        layers=text.count("num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab_size=text.count("vocab_size"),
        axes=1 if kind.sections is None else len(kind.sections),
        visible="causal",
        mlp=text.count("intermediate_size"),
        norm_epsilon=text.positive("rms_norm_eps"),
        positions=positions,
        window=_window(text, kind.defaults),
        rotary=rotary,
        qkv_bias=biased if kind.qkv_bias is None else kind.qkv_bias,
        output_bias=biased,
        mlp_bias=text.flag("mlp_bias") if "mlp_bias" in kind.defaults else False,
        qk_norm=kind.qk_norm,
        tied=tied or text.flag("tie_word_embeddings"),
        frequency_axes=() if kind.sections is None else _frequency_axes(text, kind, rotary, head_dim // 2),
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


def _frequency_axes(text: Settings, kind: _Kind, rotary: Mapping[str, Any], half: int) -> tuple[int, ...]:
    """Which axis each of the ``half`` frequencies turns by."""
    sections = rotary.get("mrope_section", kind.sections)
    if (
        not isinstance(sections, (list, tuple))
        or len(sections) != 3
        or any(type(size) is not int or size < 0 for size in sections)
        or not (kind.interleaved or sum(sections) == half)
    ):
        name = "rope_scaling" if text.get("rope_scaling") else "rope_parameters"
        raise text.wrong(name, f"an mrope_section of three numbers that are {half} together")
    if not kind.interleaved:
        return tuple(axis for axis, size in enumerate(sections) for _ in range(size))
    # every third frequency turns by a later axis, as long as it has any left
    return tuple(number % 3 if number < 3 * sections[number % 3] else 0 for number in range(half))


def rotary_parameters(text: Settings, positions: int, other_default: str | None = None) -> dict[str, Any]:
    """Rope parameters as transformers completes them: ``rope_type``, ``rope_theta``, and what the type needs."""
    name = "rope_scaling" if text.get("rope_scaling") else "rope_parameters"
    given = text.get(name) or {}
    if not isinstance(given, dict) or any(isinstance(value, dict) for value in given.values()):
        raise text.wrong(name, "one object of numbers for all layers")
    kind = given.get("rope_type", given.get("type", "default"))
    kind = "default" if kind == other_default else kind
    if kind not in STATIC_ROTARY:  # others hang on the input's length
        raise text.wrong(name, f"a rope_type among {', '.join(STATIC_ROTARY)}")
    if any(part not in (None, 1) for part in (given.get("partial_rotary_factor"), text.get("partial_rotary_factor"))):
        raise text.wrong("partial_rotary_factor", "1, so that a head is turned whole")
    found = {"rope_theta": text.positive("rope_theta"), **given, "rope_type": kind}
    if kind in _OWN_LENGTH:
        found.setdefault("original_max_position_embeddings", positions)
    return found
