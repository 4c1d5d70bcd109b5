"""CLIP's vision tower."""

from __future__ import annotations

from typing import Any

import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from clasp_trt.export.towers.anatomy import Anatomy, Attention
from clasp_trt.export.towers.spec import TowerSpec


def _build(spec: TowerSpec) -> Any:
    config = CLIPVisionConfig(
        hidden_size=spec.width,
        intermediate_size=spec.mlp,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        image_size=spec.image_size,
        patch_size=spec.patch_size,
        hidden_act=spec.activation,
        layer_norm_eps=spec.norm_epsilon,
    )
    config._attn_implementation = "sdpa"
    tower = CLIPVisionModel(config)
    # with values on the meta device too, so that a trace holds them
    positions = torch.arange(spec.rows, device="cpu")[None]
    tower.embeddings.register_buffer("position_ids", positions, persistent=False)
    return tower


def _embed(tower: Any, pixels: torch.Tensor) -> Any:
    return tower.pre_layrnorm(tower.embeddings(pixels))


def attention(block: Any, hidden: torch.Tensor) -> Attention:
    """Of a block of CLIP or SigLIP."""
    own = block.self_attn
    return Attention(block.layer_norm1(hidden), own.q_proj, own.k_proj, own.num_heads, own.scale)


ANATOMY = Anatomy("CLIP", _build, _embed, lambda tower: tower.encoder.layers, attention)
