"""InternVL's vision tower: both halves of a block are scaled, and no norm follows the last."""

from __future__ import annotations

from typing import Any

import torch
from transformers.models.internvl.configuration_internvl import InternVLVisionConfig
from transformers.models.internvl.modeling_internvl import InternVLVisionModel

from clasp_trt.export.towers.anatomy import Anatomy, Attention
from clasp_trt.export.towers.spec import TowerSpec


def _build(spec: TowerSpec) -> Any:
    config = InternVLVisionConfig(
        hidden_size=spec.width,
        intermediate_size=spec.mlp,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        image_size=spec.image_size,
        patch_size=spec.patch_size,
        hidden_act=spec.activation,
        layer_norm_eps=spec.norm_epsilon,
        attention_bias=spec.qkv_bias,
        norm_type="rms_norm" if spec.rms_norm else "layer_norm",
        use_qk_norm=spec.qk_norm,
    )
    config._attn_implementation = "sdpa"
    return InternVLVisionModel(config)


def _attention(block: Any, hidden: torch.Tensor) -> Attention:
    own = block.attention

    def query(states: torch.Tensor) -> Any:
        return own.q_norm(own.q_proj(states))

    def key(states: torch.Tensor) -> Any:
        return own.k_norm(own.k_proj(states))

    return Attention(block.layernorm_before(hidden), query, key, own.num_heads, own.scale)


ANATOMY = Anatomy(
    "InternVL",
    _build,
    lambda tower, pixels: tower.embeddings(pixels),
    lambda tower: tower.encoder.layer,
    _attention,
    lambda block, hidden: block(hidden),
)
