"""The model's own layers, run over packed questions, with visual tokens dropped at chosen depths."""

from __future__ import annotations

import torch
from transformers import LlavaForConditionalGeneration

from examples.clasp_tiny.architecture import FEATURE_LAYER, TOKENS
from examples.clasp_tiny.batches import LENGTH, PREFIX_IDS, Packed

HIDDEN = -1e4
NEVER = 8
"""Drop depth of a token that stays: the number of decoder layers."""


def see(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The hidden state that the projector reads, [batch, 1 + TOKENS, width], and the last one's normed [CLS]."""
    tower = model.model.vision_tower
    states = tower(pixels, output_hidden_states=True).hidden_states
    return states[FEATURE_LAYER], tower.post_layernorm(states[-1][:, 0])


def answer(
    model: LlavaForConditionalGeneration, features: torch.Tensor, packed: Packed, depth: torch.Tensor, early: int = 3
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [batch, rows, vocabulary] of the packed rows, and their hidden states after ``early`` layers.

    ``features`` is [batch, 1 + TOKENS, width]. ``depth`` int64 [batch, TOKENS] is the decoder layer from which on a
    visual token is no longer seen: 0 drops it before the decoder, NEVER keeps it.
    """
    decoder = model.model.language_model
    visual = model.model.multi_modal_projector(features[:, 1:])
    batch = len(visual)
    prefix = decoder.embed_tokens(PREFIX_IDS).expand(batch, -1, -1)
    hidden = torch.cat([prefix, visual, decoder.embed_tokens(packed.ids)], dim=1)
    positions = torch.cat([torch.arange(LENGTH).expand(batch, -1), packed.positions], dim=1)
    rotary = decoder.rotary_emb(hidden, positions)
    base = _mask(packed)
    leaves = torch.full((batch, base.shape[-1]), NEVER)
    leaves[:, LENGTH - TOKENS : LENGTH] = depth
    for number, layer in enumerate(decoder.layers):
        mask = base.masked_fill((leaves <= number)[:, None, None, :], HIDDEN)
        hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)
        if number == early - 1:
            after = hidden[:, LENGTH:]
    return model.lm_head(decoder.norm(hidden[:, LENGTH:])), after


def _mask(packed: Packed) -> torch.Tensor:
    """Additive [batch, 1, all, all]: the prefix is causal, a question sees the prefix and its own past."""
    batch, rows = packed.ids.shape
    owner = torch.cat([torch.full((batch, LENGTH), -2), packed.owner], dim=1)
    seen = (owner[:, :, None] == owner[:, None, :]) | (owner == -2)[:, None, :]
    causal = torch.ones(LENGTH + rows, LENGTH + rows, dtype=torch.bool).tril()
    return torch.zeros(seen.shape).masked_fill(~(seen & causal), HIDDEN)[:, None]


@torch.no_grad()
def settle(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> None:
    """Scales the tower's residual stream so that what the projector reads has variance one on ``pixels``.

    Training lets that stream grow, and a projector made for unit variance would drown the words. Layer norms make the
    tower blind to the scale, so dividing all that writes to the stream changes nothing else.
    """
    tower = model.model.vision_tower
    scale = float(see(model, pixels)[0][:, 1:].flatten(0, 1).std(0).square().mean().sqrt())
    writers = [tower.pre_layrnorm]
    for layer in tower.encoder.layers:
        writers += [layer.self_attn.out_proj, layer.mlp.fc2]
    for writer in writers:
        writer.weight.div_(scale)
        writer.bias.div_(scale)
