"""CLASP in eager PyTorch on the modules of a Hugging Face LLaVA: the reference for whole answers.

It runs the checkpoint's own modules (vision blocks, projector, decoder layers, norms, head) one by one and
does in between what the method says. It shares no code with the package and takes plain numbers.

Hidden states of the vision tower are numbered 0 (input of the first block) to L_v (output of the last),
without [CLS].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache, LlavaForConditionalGeneration
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from tests.parity.direct_kmeans import direct_select

PruneAt = Literal["decoder", "encoder", "none"]
Stage = tuple[int, int, int]  # (after_layer, keep, K1); after_layer -1 is before the decoder


@dataclass
class Result:
    """What one call of :meth:`EagerClasp.generate` saw and said: one entry per step, then one per stage."""

    tokens: list[int] = field(default_factory=list)  # greedy, with the stop token if one was said
    logits: list[NDArray[np.float32]] = field(default_factory=list)  # [vocab] each
    kept: list[NDArray[np.int64]] = field(default_factory=list)  # ascending original visual indices
    is_pivot: list[NDArray[np.bool_]] = field(default_factory=list)  # beside kept
    saliency: list[NDArray[np.float32]] = field(default_factory=list)  # of the tokens that the stage chose from
    visual_tokens: NDArray[np.float32] | None = None  # projected, [N, decoder width]


@dataclass
class _Rows:
    """The rows that are still in the sequence, in their original order."""

    hidden: Tensor  # [1, rows, decoder width]
    positions: Tensor  # [..., rows] original positions; several axes lead
    visual: Tensor  # [rows] original visual index, -1 for text

    def without(self, dropped: Tensor) -> _Rows:
        stay = ~dropped
        return _Rows(self.hidden[:, stay], self.positions[..., stay], self.visual[stay])


class EagerClasp:
    """Runs ``model`` (batch 1, eager attention, [CLS] dropped before fusion) with visual tokens pruned."""

    def __init__(self, model: LlavaForConditionalGeneration) -> None:
        config: Any = model.config
        for part in (config.vision_config, config.text_config):
            if part._attn_implementation != "eager":
                raise ValueError(f"load the model with attn_implementation='eager', not {part._attn_implementation!r}")
        if config.vision_feature_select_strategy != "default":
            raise ValueError("only checkpoints that drop [CLS] are supported")
        self.model: Any = model  # Any: the library's types say little about its modules
        self.vision: Any = self.model.model.vision_tower
        self.decoder: Any = self.model.model.language_model
        layer = int(config.vision_feature_layer)
        self.feature_layer = layer if layer >= 0 else int(config.vision_config.num_hidden_layers) + 1 + layer

    @torch.inference_mode()
    def generate(
        self,
        pixel_values: Tensor,
        input_ids: Tensor,
        alpha: Sequence[float],
        layers: Sequence[int],
        stages: Sequence[Stage] = (),
        prune_at: PruneAt = "none",
        max_new_tokens: int = 16,
    ) -> Result:
        """Answer greedily.

        ``pixel_values`` [1, 3, size, size]; ``input_ids`` [1, rows] with the image token repeated N times.
        ``alpha[i]`` weighs hidden state ``layers[i]``. ``stages`` are empty for "none", one with
        ``after_layer`` -1 for "encoder", and ascending decoder layers (0-based, pruned at their output) for
        "decoder".
        """
        after = [stage[0] for stage in stages]
        if (
            (prune_at == "none" and after)
            or (prune_at == "encoder" and after != [-1])
            or (prune_at == "decoder" and (not after or min(after) < 0 or after != sorted(set(after))))
        ):
            raise ValueError(f"stages after layers {after} do not fit prune_at {prune_at!r}")
        result = Result()
        hidden_states = self.vision_hidden_states(pixel_values)
        visual = self.project(hidden_states, alpha, layers)
        result.visual_tokens = visual.float().numpy()
        rows = self._merge(input_ids, visual)
        following = int(rows.positions.max()) + 1
        self._asking = len(rows.visual) - 1 - int((rows.visual >= 0).nonzero()[-1])

        if prune_at == "encoder":
            rows = self._prune(rows, self.cls_saliency(hidden_states), stages[0], result)
        cache = DynamicCache(config=self.model.config.text_config)
        by_layer = {stage[0]: stage for stage in stages}
        for index, layer in enumerate(self.decoder.layers):
            stage = by_layer.get(index)
            saliency = self._text_saliency(layer, rows) if stage else None
            rows.hidden = self._layer(layer, rows, cache)
            self._stack(index, rows)
            if stage is not None and saliency is not None:
                rows = self._prune(rows, saliency, stage, result)
        token = self._say(rows.hidden, result)

        stops = self.model.generation_config.eos_token_id
        stop_ids = {stops} if isinstance(stops, int) else set(stops or ())
        for step in range(max_new_tokens - 1):
            if token in stop_ids:
                break
            embedded = self.decoder.embed_tokens(torch.tensor([[token]]))
            places = torch.full_like(rows.positions[..., :1], following + step)
            rows = _Rows(embedded, places, torch.tensor([-1]))
            for layer in self.decoder.layers:
                rows.hidden = self._layer(layer, rows, cache)
            token = self._say(rows.hidden, result)
        return result

    # --- vision ---------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def vision_hidden_states(self, pixel_values: Tensor) -> list[Tensor]:
        """All hidden states 0..L_v, each [1, 1 + N, vision width] with [CLS] first."""
        states = [self.vision.pre_layrnorm(self.vision.embeddings(pixel_values))]
        for block in self.vision.encoder.layers:
            states.append(block(states[-1], None))
        return states

    @torch.inference_mode()
    def project(self, hidden_states: Sequence[Tensor], alpha: Sequence[float], layers: Sequence[int]) -> Tensor:
        """Fuse the support layers (Eq. 9) and project the sum (Eq. 10): visual tokens [N, decoder width]."""
        if len(alpha) != len(layers):
            raise ValueError(f"{len(alpha)} weights for {len(layers)} layers")
        fused = torch.zeros_like(hidden_states[0][:, 1:])
        for weight, layer in zip(alpha, layers, strict=True):
            fused = fused + weight * hidden_states[layer][:, 1:]
        projected: Tensor = self.model.model.multi_modal_projector(fused)
        return projected[0]

    @torch.inference_mode()
    def cls_saliency(self, hidden_states: Sequence[Tensor]) -> Tensor:
        """Attention [N] of [CLS] to patches, mean of heads, in the block whose output the checkpoint reads."""
        block = self.vision.encoder.layers[self.feature_layer - 1]
        attention = block.self_attn
        states = block.layer_norm1(hidden_states[self.feature_layer - 1])[0]
        split = (len(states), attention.num_heads, attention.head_dim)
        query = attention.q_proj(states).view(split)[0].float()  # [heads, head_dim]
        keys = attention.k_proj(states).view(split).float()  # [1 + N, heads, head_dim]
        scores: Tensor = torch.einsum("hd,khd->hk", query, keys) * attention.scale
        return scores.softmax(dim=-1)[:, 1:].mean(dim=0)

    # --- decoder --------------------------------------------------------------------------------------------

    def _merge(self, input_ids: Tensor, visual: Tensor) -> _Rows:
        is_image = input_ids[0] == self._token_id()
        places = is_image.nonzero()[:, 0]
        count = len(visual)
        if len(places) != count:
            raise ValueError(f"expected {count} image tokens, got {len(places)} of them")
        hidden = self.decoder.embed_tokens(input_ids)
        hidden[0, places] = visual
        index = torch.full_like(input_ids[0], -1)
        index[places] = torch.arange(count)
        return _Rows(hidden, torch.arange(input_ids.shape[1]), index)

    def _token_id(self) -> int:
        return int(self.model.config.image_token_id)

    def _stack(self, index: int, rows: _Rows) -> None:
        """Adds to the visual rows what some decoders get after layer ``index``."""

    def _layer(self, layer: Any, rows: _Rows, cache: DynamicCache) -> Tensor:
        """Output of ``layer``; its keys and values join its cache, whatever length the other layers' have."""
        count = rows.positions.shape[-1]
        mask = None
        if count > 1:  # prefill: rows are in order, so causality is by row; a decoded row sees all that is cached
            blocked = torch.ones(count, count, dtype=torch.bool).triu(diagonal=1)
            mask = torch.zeros(1, 1, count, count, dtype=rows.hidden.dtype)
            mask.masked_fill_(blocked, torch.finfo(rows.hidden.dtype).min)
        rotary = self.decoder.rotary_emb(rows.hidden, position_ids=_batched(rows.positions))
        output: Tensor = layer(rows.hidden, attention_mask=mask, past_key_values=cache, position_embeddings=rotary)
        return output

    def _text_saliency(self, layer: Any, rows: _Rows) -> Tensor:
        """Attention of ``layer`` to each visual row, mean over heads and over the text after the image, wherever its
        last row that is left stands.

        Every softmax runs over all the keys that its row may see, in float32.
        """
        attention = layer.self_attn
        states = layer.input_layernorm(rows.hidden)
        cos, sin = self.decoder.rotary_emb(rows.hidden, position_ids=_batched(rows.positions))
        split = (1, rows.positions.shape[-1], -1, attention.head_dim)
        query, keys = attention.q_proj(states).view(split), attention.k_proj(states).view(split)
        if hasattr(attention, "q_norm"):
            query, keys = attention.q_norm(query), attention.k_norm(keys)
        query, keys = apply_rotary_pos_emb(query.transpose(1, 2), keys.transpose(1, 2), cos, sin)
        keys = keys.repeat_interleave(attention.num_key_value_groups, dim=1)
        is_visual = rows.visual >= 0
        first = len(is_visual) - self._asking  # the first reference row
        if first == len(is_visual):
            raise ValueError("no text follows the image: the stage has no reference rows")
        scores: Tensor = query[0, :, first:].float() @ keys[0].float().transpose(1, 2) * attention.scaling
        for row in range(first, len(is_visual)):
            scores[:, row - first, row + 1 :] = -torch.inf
        return scores.softmax(dim=-1).mean(dim=(0, 1))[is_visual]

    def _prune(self, rows: _Rows, saliency: Tensor, stage: Stage, result: Result) -> _Rows:
        _, keep, k1 = stage
        alive = rows.visual[rows.visual >= 0].numpy()
        assert result.visual_tokens is not None
        kept, is_pivot = direct_select(saliency.numpy(), result.visual_tokens[alive], k1, keep)
        result.saliency.append(saliency.numpy())
        result.kept.append(alive[kept])
        result.is_pivot.append(is_pivot)
        dropped = rows.visual >= 0
        dropped &= ~torch.isin(rows.visual, torch.from_numpy(alive[kept]))
        return rows.without(dropped)

    def _say(self, hidden: Tensor, result: Result) -> int:
        logits = self.model.lm_head(self.decoder.norm(hidden[0, -1]))
        result.logits.append(logits.float().numpy())
        result.tokens.append(int(logits.argmax()))
        return result.tokens[-1]


def _batched(positions: Tensor) -> Tensor:
    """``[rows]`` as ``[1, rows]``, ``[axes, rows]`` as ``[axes, 1, rows]``."""
    return positions.unsqueeze(-2)
