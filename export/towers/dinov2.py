"""DINOv2's vision tower: no LayerNorm before the first block, and both halves of a block are scaled."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Dinov2Config, Dinov2Model

from clasp_trt.export.towers.anatomy import Anatomy, Attention
from clasp_trt.export.towers.spec import TowerSpec


def _build(spec: TowerSpec) -> Any:
    config = Dinov2Config(
        hidden_size=spec.width,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        mlp_ratio=spec.mlp // spec.width,
        hidden_act=spec.activation,
        layer_norm_eps=spec.norm_epsilon,
        image_size=spec.image_size,
        patch_size=spec.patch_size,
        qkv_bias=spec.qkv_bias,
        use_mask_token=False,
    )
    config._attn_implementation = "sdpa"
    return Dinov2Model(config)


def _attention(block: Any, hidden: torch.Tensor) -> Attention:
    own = block.attention
    return Attention(block.norm1(hidden), own.q_proj, own.k_proj, own.num_attention_heads, own.scaling)


ANATOMY = Anatomy(
    "DINOv2", _build, lambda tower, pixels: tower.embeddings(pixels), lambda tower: tower.encoder.layer, _attention
)
