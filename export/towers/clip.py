"""The CLIP vision tower, cut at the deepest layer that a policy reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from clasp_trt.chain import ports
from clasp_trt.export.trace import on_meta, trace
from clasp_trt.export.weights.graph import Weights


class _Tower(torch.nn.Module):
    """Patch features of the support layers, and how much the [CLS] token attends to each patch."""

    def __init__(self, tower: Any, layers: Sequence[int], saliency_layer: int) -> None:
        super().__init__()
        self.tower: Any = tower
        self._layers, self._saliency_layer = tuple(layers), saliency_layer

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        weight = self.tower.embeddings.patch_embedding.weight
        hidden = self.tower.pre_layrnorm(self.tower.embeddings(pixel_values.to(weight.dtype)))
        states, saliency = [hidden], None
        for number, block in enumerate(self.tower.encoder.layers, start=1):
            if number > max(*self._layers, self._saliency_layer):
                break
            if number == self._saliency_layer:
                saliency = _cls_saliency(block, hidden)
            hidden = block(hidden, attention_mask=None)
            states.append(hidden)
        assert saliency is not None
        return torch.stack([states[layer][:, 1:] for layer in self._layers], dim=1), saliency


def _cls_saliency(block: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Attention of the [CLS] token to the patches in one block, softmax over all keys, mean over heads (Eq. 4)."""
    attention = block.self_attn
    normed = block.layer_norm1(hidden)
    query = attention.q_proj(normed[:, :1]).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
    key = attention.k_proj(normed).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
    scores: torch.Tensor = query.float() @ key.float().transpose(-1, -2) * attention.scale
    return scores.softmax(-1).mean(1)[:, 0, 1:]


def tower_graph(
    config: CLIPVisionConfig,
    side: int,
    tokens: int,
    layers: Sequence[int],
    saliency_layer: int,
    weights: Weights,
    dtype: str,
) -> ir.Model:
    """The graph from ``pixel_values`` float32 ``[batch, 3, side, side]`` to ``features`` and ``cls_saliency``.

    ``features`` is ``[batch, layers, tokens, width]`` in ``dtype``, ``cls_saliency`` float32 ``[batch, tokens]``.
    """
    config._attn_implementation = "sdpa"
    tower = on_meta(CLIPVisionModel, config, dtype=dtype)
    tower.embeddings.register_buffer("position_ids", torch.arange(tokens + 1)[None], persistent=False)
    read = ", ".join(map(str, layers))
    return trace(
        _Tower(tower, layers, saliency_layer),
        ports.square_vision(side, len(layers), tokens, config.hidden_size, saliency_layer, dtype),
        weights=weights,
        purpose=f"CLIP vision tower up to layer {max(*layers, saliency_layer)}; support layers {read}.",
    )
