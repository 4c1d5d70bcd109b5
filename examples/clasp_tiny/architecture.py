"""The model: a stock ``LlavaForConditionalGeneration`` of 3 M parameters, with weights drawn for this width."""

from __future__ import annotations

import math

import torch
from torch import nn
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from examples.clasp_tiny.words import BOS, EOS, IMAGE, PAD, VOCABULARY

SIZE, PATCH = 144, 12
MAX_POSITIONS = 512
SIDE = SIZE // PATCH
TOKENS = SIDE * SIDE
WIDTH = 128
FEATURE_LAYER = 7
"""Hidden state of the vision tower that the projector reads: ``vision_feature_layer`` -2 of 8 layers."""


def configuration() -> LlavaConfig:
    """CLIP-type tower (8 layers), MLP projector, Llama decoder (8 layers), words of ShapesVQA."""
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=8,
        num_attention_heads=4,
        image_size=SIZE,
        patch_size=PATCH,
    )
    text = LlamaConfig(
        hidden_size=WIDTH,
        intermediate_size=352,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=len(VOCABULARY),
        max_position_embeddings=MAX_POSITIONS,
        bos_token_id=VOCABULARY[BOS],
        eos_token_id=VOCABULARY[EOS],
        pad_token_id=VOCABULARY[PAD],
        tie_word_embeddings=False,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=VOCABULARY[IMAGE],
        image_seq_length=TOKENS,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )


def new_model(seed: int) -> LlavaForConditionalGeneration:
    """A model with fresh weights: matrices of variance ``1 / fan_in`` (0.02 would be too small at this width).

    What adds to the residual stream is smaller by ``sqrt(2 * layers)``, so that depth does not swell it.
    """
    generator = torch.Generator().manual_seed(seed)
    model = LlavaForConditionalGeneration(configuration())
    residual = {"out_proj", "fc2", "o_proj", "down_proj"}
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                std = 1 / math.sqrt(module.weight[0].numel())
                if name.rsplit(".", 1)[-1] in residual:
                    std /= math.sqrt(2 * 8)
                module.weight.normal_(0, std, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, nn.Embedding):
                module.weight.normal_(0, 0.5 if "embed_tokens" in name else 0.1, generator=generator)
        model.model.vision_tower.embeddings.class_embedding.normal_(0, 0.5, generator=generator)
    return model
