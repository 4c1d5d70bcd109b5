"""The same in eager PyTorch for models whose pictures are split into tiles, some patches of which are one token.

The library's own pixel shuffle and projector make the tokens. Visual tokens may stand in several runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tests.parity.eager import EagerClasp, _Rows


class EagerTiles(EagerClasp):
    """Runs an InternVL, Idefics3 or SmolVLM of transformers with eager attention."""

    def __init__(self, model: Any) -> None:
        inner, self.model = model.model, model
        self.has_cls = hasattr(inner, "vision_tower")  # InternVL's
        self.vision = inner.vision_tower if self.has_cls else inner.vision_model
        self.decoder = inner.language_model if self.has_cls else inner.text_model
        self.feature_layer = int(model.config.vision_config.num_hidden_layers)
        self.merge = int(1 / model.config.downsample_ratio) if self.has_cls else model.config.scale_factor

    @property
    def _blocks(self) -> Any:
        return self.vision.encoder.layer if self.has_cls else self.vision.encoder.layers

    @torch.inference_mode()
    def vision_hidden_states(self, pixel_values: Tensor) -> list[Tensor]:
        """All hidden states, each [tiles, patches, vision width], [CLS] first if there is one."""
        if self.has_cls:
            states = [self.vision.embeddings(pixel_values)]
            for block in self._blocks:
                states.append(block(states[-1]))
            return states
        side = pixel_values.shape[-1] // self.vision.patch_size
        everywhere = torch.ones(len(pixel_values), side, side, dtype=torch.bool)
        states = [self.vision.embeddings(pixel_values, everywhere)]
        for block in self._blocks:
            states.append(block(states[-1], None))
        return states

    @torch.inference_mode()
    def project(self, hidden_states: Sequence[Tensor], alpha: Sequence[float], layers: Sequence[int]) -> Tensor:
        """Fuse, then norm, merge and project each tile by the library: visual tokens [N, decoder width]."""
        fused = torch.zeros_like(hidden_states[0])
        for weight, layer in zip(alpha, layers, strict=True):
            fused = fused + weight * hidden_states[layer]
        inner = self.model.model
        if not self.has_cls:
            made: Tensor = inner.connector(self.vision.post_layernorm(fused))
            return made.flatten(0, 1)
        patches = fused[:, 1:]
        side = int(patches.shape[1] ** 0.5)
        square = patches.reshape(len(patches), side, side, -1)
        merged = inner.pixel_shuffle(square, scale_factor=self.model.config.downsample_ratio)
        made = inner.multi_modal_projector(merged.reshape(len(patches), -1, merged.shape[-1]))
        return made.flatten(0, 1)

    @torch.inference_mode()
    def cls_saliency(self, hidden_states: Sequence[Tensor]) -> Tensor:
        """Attention [N] of [CLS], or of all patches, to the patches of each token: mean of heads, rows and patches."""
        states, block = hidden_states[self.feature_layer - 1], self._blocks[self.feature_layer - 1]
        if self.has_cls:
            attention, normed = block.attention, block.layernorm_before(states)
            query, keys = attention.q_norm(attention.q_proj(normed)), attention.k_norm(attention.k_proj(normed))
        else:
            attention, normed = block.self_attn, block.layer_norm1(states)
            query, keys = attention.q_proj(normed), attention.k_proj(normed)
        first, split = int(self.has_cls), (*states.shape[:2], attention.num_heads, attention.head_dim)
        scores = torch.einsum("tqhd,tkhd->thqk", query.view(split), keys.view(split)) * attention.scale
        asking = scores[:, :, :1] if self.has_cls else scores
        received = asking.softmax(dim=-1).mean(dim=(1, 2))[:, first:]
        side = int(received.shape[1] ** 0.5)
        tiles = []
        for tile in received.view(len(received), side, side):
            for top in range(0, side, self.merge):
                for left in range(0, side, self.merge):
                    tiles.append(tile[top : top + self.merge, left : left + self.merge].mean())
        return torch.stack(tiles)

    def _merge(self, input_ids: Tensor, visual: Tensor) -> _Rows:
        places = (input_ids[0] == self.model.config.image_token_id).nonzero()[:, 0]
        if len(places) != len(visual):
            raise ValueError(f"expected {len(visual)} image tokens, got {len(places)}")
        hidden = self.decoder.embed_tokens(input_ids)
        hidden[0, places] = visual
        index = torch.full_like(input_ids[0], -1)
        index[places] = torch.arange(len(visual))
        return _Rows(hidden, torch.arange(input_ids.shape[1]), index)
