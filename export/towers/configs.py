"""A ``vision_config`` to a :class:`TowerSpec`: one function a tower, by its ``model_type``.

What a config leaves out has the value that transformers gives it, tabled here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from clasp_trt.export.config import Settings
from clasp_trt.export.towers.spec import CHANNELS, TowerSpec

_COMMON: Mapping[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": CHANNELS,
    "image_size": 224,
}
_CLIP = {
    **_COMMON,
    "intermediate_size": 3072,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
_SIGLIP = {
    **_COMMON,
    "intermediate_size": 3072,
    "patch_size": 16,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
    "vision_use_head": True,
}
_DINOV2 = {
    **_COMMON,
    "mlp_ratio": 4,
    "patch_size": 14,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "qkv_bias": True,
    "use_swiglu_ffn": False,
    "use_mask_token": True,
}
_INTERNVL = {
    **_COMMON,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "image_size": 448,
    "patch_size": 14,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "attention_bias": False,
    "norm_type": "layer_norm",
    "use_qk_norm": False,
    "use_mask_token": False,
    "use_absolute_position_embeddings": True,
    "use_mean_pooling": True,
}
_IDEFICS3 = {
    **_COMMON,
    "hidden_size": 1152,
    "intermediate_size": 3072,
    "num_attention_heads": 16,
    "patch_size": 32,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
_ACTIVATIONS = ("quick_gelu", "gelu", "gelu_pytorch_tanh", "gelu_new", "relu", "silu")


def clip(vision: Settings, feature_layer: int) -> TowerSpec:
    """CLIP's: [CLS], and a LayerNorm before the first block."""
    vision = vision.over(_CLIP)
    return _tower(
        vision, "clip", feature_layer, vision.count("intermediate_size"), has_cls=True, pre_norm=True, patch_bias=False
    )


def siglip(vision: Settings, feature_layer: int) -> TowerSpec:
    """SigLIP's: no [CLS]; the pooling head that its checkpoints may carry is not read."""
    vision = vision.over(_SIGLIP)
    width, mlp = vision.count("hidden_size"), vision.count("intermediate_size")
    # a probe, an attention with its biases, a LayerNorm, and an MLP
    head = width + 4 * width**2 + 4 * width + 2 * width + 2 * width * mlp + width + mlp
    return _tower(
        vision, "siglip", feature_layer, mlp, patch_bias=True, unread=head if vision.flag("vision_use_head") else 0
    )


def dinov2(vision: Settings, feature_layer: int) -> TowerSpec:
    """DINOv2's: [CLS] and layer scale; the mask token that only training needs is not read."""
    vision = vision.over(_DINOV2)
    if vision.flag("use_swiglu_ffn"):
        raise vision.wrong("use_swiglu_ffn", "false")
    width = vision.count("hidden_size")
    return _tower(
        vision, "dinov2", feature_layer, width * vision.count("mlp_ratio"), has_cls=True, patch_bias=True,
        layer_scale=True, qkv_bias=vision.flag("qkv_bias"), unread=width if vision.flag("use_mask_token") else 0,
    )  # fmt: skip


def internvl(vision: Settings, feature_layer: int) -> TowerSpec:
    """InternVL's: [CLS], layer scale, and no norm after the last block; the largest has RMSNorms, of queries and keys
    too. The mask token that only training needs is not read."""
    given = {name: _one(vision.over(_INTERNVL), name) for name in ("image_size", "patch_size")}
    vision = vision.over(_INTERNVL).replaced(given)
    for name in ("use_absolute_position_embeddings", "use_mean_pooling"):  # else without positions, or with a last norm
        vision.require(name, True)
    return _tower(
        vision, "internvl", feature_layer, vision.count("intermediate_size"), has_cls=True, patch_bias=True,
        layer_scale=True, qkv_bias=vision.flag("attention_bias"),
        unread=vision.count("hidden_size") if vision.flag("use_mask_token") else 0,
        rms_norm=vision.require("norm_type", "layer_norm", "rms_norm") == "rms_norm",
        qk_norm=vision.flag("use_qk_norm"), final_norm=False,
    )  # fmt: skip


def idefics3(vision: Settings) -> TowerSpec:
    """Idefics3's and SmolVLM's: as SigLIP's, but the norm after the last block is read, by the projector, to which it
    counts."""
    vision = vision.over(_IDEFICS3)
    return _tower(vision, "idefics3", -1, vision.count("intermediate_size"), patch_bias=True, final_norm=False)


def _one(vision: Settings, name: str) -> object:
    """A side that may stand twice, as height and width."""
    value = vision.get(name)
    return value[0] if isinstance(value, list) and len(value) == 2 and value[0] == value[1] else value


TOWERS: Mapping[str, Callable[[Settings, int], TowerSpec]] = {
    "clip_vision_model": clip,
    "siglip_vision_model": siglip,
    "dinov2": dinov2,
}
"""By the ``model_type`` of a ``vision_config``."""


def _tower(
    vision: Settings,
    kind: str,
    feature_layer: int,
    mlp: int,
    *,
    patch_bias: bool,
    has_cls: bool = False,
    pre_norm: bool = False,
    qkv_bias: bool = True,
    layer_scale: bool = False,
    unread: int = 0,
    rms_norm: bool = False,
    qk_norm: bool = False,
    final_norm: bool = True,
) -> TowerSpec:
    """The tower whose hidden state ``feature_layer`` is read, as transformers counts: from the end if negative."""
    layers = vision.count("num_hidden_layers")
    vision.require("num_channels", CHANNELS)
    width, heads = vision.count("hidden_size"), vision.count("num_attention_heads")
    if width % heads:
        raise vision.wrong("num_attention_heads", f"a divisor of the width {width}")
    return TowerSpec(
        layers=layers,
        width=width,
        feature_layer=feature_layer if feature_layer >= 0 else layers + 1 + feature_layer,
        saliency="cls" if has_cls else "received",
        kind=kind,
        image_size=vision.count("image_size"),
        patch_size=vision.count("patch_size"),
        heads=heads,
        mlp=mlp,
        activation=vision.activation("hidden_act", *_ACTIVATIONS),
        norm_epsilon=vision.positive("layer_norm_eps"),
        pre_norm=pre_norm,
        patch_bias=patch_bias,
        qkv_bias=qkv_bias,
        layer_scale=layer_scale,
        unread=unread,
        rms_norm=rms_norm,
        qk_norm=qk_norm,
        final_norm=final_norm,
    )
