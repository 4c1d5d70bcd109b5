"""SigLIP's vision tower: patches alone, whose hidden states have not passed the LayerNorm after the last block."""

from __future__ import annotations

from typing import Any

import torch
from transformers import SiglipVisionConfig, SiglipVisionModel

from clasp_trt.export.towers.anatomy import Anatomy
from clasp_trt.export.towers.clip import attention
from clasp_trt.export.towers.spec import TowerSpec


def _build(spec: TowerSpec) -> Any:
    config = SiglipVisionConfig(
        hidden_size=spec.width,
        intermediate_size=spec.mlp,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        image_size=spec.image_size,
        patch_size=spec.patch_size,
        hidden_act=spec.activation,
        layer_norm_eps=spec.norm_epsilon,
        vision_use_head=False,
    )
    config._attn_implementation = "sdpa"
    tower = SiglipVisionModel(config)
    tower.embeddings.position_ids = torch.nn.Buffer(torch.arange(spec.rows, device="cpu")[None], persistent=False)
    return tower


ANATOMY = Anatomy(
    "SigLIP", _build, lambda tower, pixels: tower.embeddings(pixels), lambda tower: tower.encoder.layers, attention
)
