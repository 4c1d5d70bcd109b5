"""CLASP in eager PyTorch on the modules of a PaliGemma or Gemma 3: the reference for whole answers.

It runs the checkpoint's own modules one by one, as :mod:`tests.parity.eager` does for LLaVA, and shares no code with
the package. What a row sees is told from original positions alone: no slots, no ranges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from tests.parity.direct_kmeans import direct_select
from tests.parity.eager import Result, Stage


@dataclass
class _Rows:
    """The rows that are still there, in order: ``block`` is the picture that a row belongs to, -1 for text."""

    hidden: Tensor
    positions: Tensor
    visual: Tensor
    block: Tensor
    prompt: bool

    def only(self, stay: Tensor) -> _Rows:
        parts = (self.positions[stay], self.visual[stay], self.block[stay])
        return _Rows(self.hidden[:, stay], *parts, self.prompt)


class EagerGemma:
    """Runs ``model`` (batch 1, eager attention) with visual tokens pruned."""

    def __init__(self, model: Any) -> None:
        self.model, self.config = model, model.config.text_config
        self.vision, self.decoder = model.model.vision_tower, model.model.language_model
        self.is_third = model.config.model_type == "gemma3"
        self.start = 0 if self.is_third else 1

    @torch.inference_mode()
    def generate(
        self,
        pixel_values: Sequence[Tensor],
        input_ids: Tensor,
        alpha: Sequence[float],
        layers: Sequence[int],
        stages: Sequence[Stage],
        max_new_tokens: int,
    ) -> Result:
        """Answers greedily about pictures ``[1, 3, size, size]``; a stage after layer -1 is before the decoder."""
        result, by_layer = Result(), {stage[0]: stage for stage in stages}
        states = [self._states(pixels) for pixels in pixel_values]
        visual = torch.cat([self._project(each, alpha, layers) for each in states])
        result.visual_tokens = visual.numpy()
        rows = self._merge(input_ids, visual, len(states))
        if -1 in by_layer:
            saliency = torch.cat([self._received(each) for each in states])
            rows = self._prune(rows, saliency, by_layer[-1], result)
        self._cache, self._cached = DynamicCache(), [list[Tensor]() for _ in self.decoder.layers]
        for index in range(len(self.decoder.layers)):
            received = self._text_saliency(index, rows) if index in by_layer else None
            rows.hidden = self._layer(index, rows)
            if received is not None:
                rows = self._prune(rows, received, by_layer[index], result)
        token = self._say(rows.hidden, result)
        for step in range(max_new_tokens - 1):
            place = torch.tensor([self.start + input_ids.shape[1] + step])
            none = torch.tensor([-1])
            rows = _Rows(self.decoder.embed_tokens(torch.tensor([[token]])), place, none, none, prompt=False)
            for index in range(len(self.decoder.layers)):
                rows.hidden = self._layer(index, rows)
            token = self._say(rows.hidden, result)
        return result

    # --- vision ---------------------------------------------------------------------------------------------

    def _states(self, pixels: Tensor) -> list[Tensor]:
        states = [self.vision.embeddings(pixels)]
        for block in self.vision.encoder.layers:
            states.append(block(states[-1], None))
        return states

    def _project(self, states: Sequence[Tensor], alpha: Sequence[float], layers: Sequence[int]) -> Tensor:
        fused = sum(weight * states[layer] for weight, layer in zip(alpha, layers, strict=True))
        projected: Tensor = self.model.model.multi_modal_projector(self.vision.post_layernorm(fused))
        return projected[0]

    def _received(self, states: Sequence[Tensor]) -> Tensor:
        """What each token's patches receive from all patches in the last block, on average."""
        attention = self.vision.encoder.layers[-1].self_attn
        normed = self.vision.encoder.layers[-1].layer_norm1(states[-2])[0]
        split = (len(normed), attention.num_heads, attention.head_dim)
        query, keys = attention.q_proj(normed).view(split), attention.k_proj(normed).view(split)
        weights = (torch.einsum("qhd,khd->hqk", query, keys) * attention.scale).softmax(-1)
        received = weights.mean((0, 1))
        side = int(len(received) ** 0.5)
        pool = getattr(self.model.model.multi_modal_projector, "kernel_size", 1)
        squares = received.view(side // pool, pool, side // pool, pool)
        return squares.mean((1, 3)).flatten()

    # --- decoder --------------------------------------------------------------------------------------------

    def _merge(self, input_ids: Tensor, visual: Tensor, pictures: int) -> _Rows:
        is_image = input_ids[0] == self.model.config.image_token_id
        hidden = self.decoder.embed_tokens(input_ids.masked_fill(is_image[None], 0))
        hidden[0, is_image] = visual
        index, block = torch.full_like(input_ids[0], -1), torch.full_like(input_ids[0], -1)
        index[is_image] = torch.arange(len(visual))
        block[is_image] = torch.arange(pictures).repeat_interleave(len(visual) // pictures)
        return _Rows(hidden, torch.arange(input_ids.shape[1]) + self.start, index, block, prompt=True)

    def _slides(self, index: int) -> bool:
        kinds = getattr(self.config, "layer_types", None)
        return kinds is not None and kinds[index] == "sliding_attention"

    def _seen(self, index: int, rows: _Rows, keys: Tensor) -> Tensor:
        """Bool ``[rows, keys]`` by positions; in prefill the keys are the rows."""
        query = rows.positions[:, None]
        seen = keys <= query
        within = keys > query - self.config.sliding_window if self._slides(index) else torch.ones_like(seen)
        if not rows.prompt:
            return seen & within
        if not self.is_third:
            return torch.ones_like(seen)
        return (seen | ((rows.block[:, None] == rows.block) & (rows.block >= 0))) & within

    def _rotary(self, index: int, rows: _Rows) -> Any:
        kind = (self.config.layer_types[index],) if self.is_third else ()
        return self.decoder.rotary_emb(rows.hidden, rows.positions[None], *kind)

    def _layer(self, index: int, rows: _Rows) -> Tensor:
        self._cached[index].append(rows.positions)
        seen = self._seen(index, rows, torch.cat(self._cached[index]))
        mask = torch.zeros(1, 1, *seen.shape).masked_fill_(~seen, torch.finfo(torch.float32).min)
        output: Tensor = self.decoder.layers[index](
            rows.hidden, attention_mask=mask, past_key_values=self._cache, position_embeddings=self._rotary(index, rows)
        )
        return output

    def _text_saliency(self, index: int, rows: _Rows) -> Tensor:
        layer = self.decoder.layers[index]
        attention, states = layer.self_attn, layer.input_layernorm(rows.hidden)
        split = (1, len(rows.positions), -1, attention.head_dim)
        query, keys = attention.q_proj(states).view(split), attention.k_proj(states).view(split)
        if self.is_third:
            query, keys = attention.q_norm(query), attention.k_norm(keys)
        query, keys = apply_rotary_pos_emb(query.transpose(1, 2), keys.transpose(1, 2), *self._rotary(index, rows))
        scores = query[0] @ keys.repeat_interleave(attention.num_key_value_groups, dim=1)[0].transpose(1, 2)
        scores = self._capped(scores * attention.scaling, "attn_logit_softcapping")
        weights = scores.masked_fill(~self._seen(index, rows, rows.positions), -torch.inf).softmax(-1)
        is_visual = rows.visual >= 0
        first = int(is_visual.nonzero()[-1]) + 1
        return weights[:, first:].mean((0, 1))[is_visual]

    def _prune(self, rows: _Rows, saliency: Tensor, stage: Stage, result: Result) -> _Rows:
        _, keep, k1 = stage
        alive = rows.visual[rows.visual >= 0].numpy()
        assert result.visual_tokens is not None
        kept, is_pivot = direct_select(saliency.numpy(), result.visual_tokens[alive], k1, keep)
        result.kept.append(alive[kept])
        result.is_pivot.append(is_pivot)
        return rows.only((rows.visual < 0) | torch.isin(rows.visual, torch.from_numpy(alive[kept])))

    def _capped(self, scores: Tensor, name: str) -> Tensor:
        cap = getattr(self.config, name, None)
        return scores if cap is None else (scores / cap).tanh() * cap

    def _say(self, hidden: Tensor, result: Result) -> int:
        logits = self._capped(self.model.lm_head(self.decoder.norm(hidden[0, -1])), "final_logit_softcapping")
        result.logits.append(logits.numpy())
        result.tokens.append(int(logits.argmax()))
        return result.tokens[-1]
