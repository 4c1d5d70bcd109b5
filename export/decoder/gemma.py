"""A ``text_config`` of Gemma to a :class:`DecoderSpec`: one entry a generation, by its ``model_type``.

What a config leaves out has the value that transformers gives it, tabled here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clasp_trt.export.config import Settings
from clasp_trt.export.decoder.configs import rotary_parameters
from clasp_trt.export.decoder.spec import DecoderSpec

_COMMON: Mapping[str, Any] = {
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "attention_bias": False,
}
_SLIDING: Mapping[str, Any] = {"query_pre_attn_scalar": 256, "sliding_window": 4096, "sliding_window_pattern": 2}
_SLIDES, _SEES_ALL = "sliding_attention", "full_attention"
_LOCAL_THETA = 10000.0


@dataclass(frozen=True)
class _Generation:
    """``activation`` names the field that names it. ``slides``: some layers see a window alone, and all have four norms
    and a scale of queries of their own. ``caps``: scores and logits may be capped. ``local``: sliding layers turn by
    another table, and queries and keys pass norms."""

    defaults: Mapping[str, Any]
    activation: str
    slides: bool = True
    caps: bool = False
    local: bool = False


_GENERATIONS: Mapping[str, _Generation] = {
    "gemma": _Generation(
        {
            **_COMMON,
            "hidden_size": 3072,
            "intermediate_size": 24576,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "vocab_size": 256000,
            "hidden_act": "gelu_pytorch_tanh",
        },
        "hidden_act",
        slides=False,
    ),
    "gemma2": _Generation(
        {
            **_COMMON,
            **_SLIDING,
            "vocab_size": 256000,
            "final_logit_softcapping": 30.0,
            "attn_logit_softcapping": 50.0,
        },
        "hidden_activation",
        caps=True,
    ),
    "gemma3_text": _Generation(
        {
            **_COMMON,
            **_SLIDING,
            "vocab_size": 262208,
            "max_position_embeddings": 131072,
            "sliding_window_pattern": 6,
            "rope_theta": 1000000.0,
            "rope_local_base_freq": _LOCAL_THETA,
        },
        "hidden_activation",
        local=True,
    ),
}


def gemma(text: Settings, *kinds: str, visible: str, tied: bool) -> DecoderSpec:
    """The decoder that ``text`` describes, one of ``kinds``, whose rows see what ``visible`` says; ``tied`` is for the
    model around it to say. Raises :class:`~clasp_trt.errors.CheckpointError` for one that cannot be compiled."""
    kind = _GENERATIONS[text.require("model_type", *kinds)]
    text = text.over(kind.defaults)
    if kind.activation == "hidden_act" and text.get("hidden_act") == "gelu":  # what old files call it
        activation = "gelu_pytorch_tanh"
    else:
        activation = text.activation(kind.activation, "gelu_pytorch_tanh")
    heads, kv_heads, head_dim = (text.count(f) for f in ("num_attention_heads", "num_key_value_heads", "head_dim"))
    layers, positions = text.count("num_hidden_layers"), text.count("max_position_embeddings")
    if heads % kv_heads:
        raise text.wrong("num_key_value_heads", f"a divisor of the {heads} attention heads")
    if head_dim % 2:
        raise text.wrong("head_dim", f"an even number, for rotary positions, not {head_dim}")
    biased = text.flag("attention_bias")
    caps = [_cap(text, name, kind.caps) for name in ("attn_logit_softcapping", "final_logit_softcapping")]
    if kind.local and text.get("use_bidirectional_attention") not in (None, False):
        raise text.wrong("use_bidirectional_attention", "false")
    sliding = _sliding(text, layers) if kind.slides else ()
    rotary, local = _tables(text, positions) if kind.local else (rotary_parameters(text, positions), None)
    return DecoderSpec(
        layers=layers,
        width=text.count("hidden_size"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab_size=text.count("vocab_size"),
        axes=1,
        visible=visible,
        mlp=text.count("intermediate_size"),
        norm_epsilon=text.positive("rms_norm_eps"),
        positions=positions,
        window=text.count("sliding_window") if any(sliding) else None,
        rotary=rotary,
        qkv_bias=biased,
        output_bias=biased,
        mlp_bias=False,
        qk_norm=kind.local,
        tied=tied,
        activation=activation,
        norm_offset=True,
        post_norms=kind.slides,
        query_scalar=text.positive("query_pre_attn_scalar") if kind.slides else None,
        score_cap=caps[0],
        logit_cap=caps[1],
        scales_embedding=True,
        sliding=sliding,
        local_rotary=local,
    )


def _cap(text: Settings, name: str, known: bool) -> float | None:
    """What scores are capped at. One that transformers reads of no such model would be a surprise either way."""
    if text.get(name) is None:
        return None
    if not known:
        raise text.wrong(name, "null")
    return text.positive(name)


def _sliding(text: Settings, layers: int) -> tuple[bool, ...]:
    """Whether each layer sees a window alone: as it says of each, or all but every so manieth."""
    kinds = text.get("layer_types")
    if kinds is None:
        every = text.count("sliding_window_pattern")
        kinds = [_SLIDES if number % every else _SEES_ALL for number in range(1, layers + 1)]
    if not isinstance(kinds, list) or len(kinds) != layers or not {*map(str, kinds)} <= {_SLIDES, _SEES_ALL}:
        raise text.wrong("layer_types", f"{_SLIDES} or {_SEES_ALL} for each of {layers} layers")
    if _SLIDES in kinds and text.get("sliding_window") is None:
        raise text.wrong("sliding_window", "how many positions the sliding layers see")
    return tuple(kind == _SLIDES for kind in kinds)


def _tables(text: Settings, positions: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rope parameters of the layers that see all and of those that slide: in one object each or, in older files, with
    a scaling that is that of the former alone."""
    given = text.get("rope_parameters")
    given = {} if given is None else given
    if not isinstance(given, dict) or not given.keys() <= {_SLIDES, _SEES_ALL}:
        raise text.wrong("rope_parameters", f"an object each for {_SEES_ALL} and {_SLIDES}")
    scaling = text.get("rope_scaling") or {}
    if not isinstance(scaling, dict) or (scaling and "rope_type" not in scaling):
        raise text.wrong("rope_scaling", "an object with a rope_type")
    whole = {"rope_theta": text.get("rope_theta"), **(given.get(_SEES_ALL) or {}), **scaling}
    local = {"rope_theta": text.get("rope_local_base_freq"), **(given.get(_SLIDES) or {})}
    return _one_table(text, whole, positions), _one_table(text, local, positions)


def _one_table(text: Settings, parameters: Mapping[str, Any], positions: int) -> dict[str, Any]:
    alone = {
        "rope_parameters": {"rope_type": "default", **parameters},
        "rope_theta": parameters["rope_theta"],
        "partial_rotary_factor": text.get("partial_rotary_factor"),
    }
    return rotary_parameters(Settings(text.source, text.place, alone, {}), positions)


def embedding_scale(width: int, dtype: str) -> float:
    """The root of ``width`` in the float type ``dtype``, torch's name, in which a checkpoint is stored."""
    import torch

    return float(torch.tensor(width**0.5).to(getattr(torch, dtype)))
