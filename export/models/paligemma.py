"""PaliGemma and PaliGemma 2: a SigLIP tower, a single linear layer, and a Gemma whose prompts see all of themselves."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from clasp_trt.brief import brief
from clasp_trt.bundle import Media, Sequential
from clasp_trt.errors import CheckpointError
from clasp_trt.export.config import Settings
from clasp_trt.export.decoder.gemma import gemma
from clasp_trt.export.description import SquareDescription
from clasp_trt.export.gemma import Gemma
from clasp_trt.export.specs import ProjectorSpec
from clasp_trt.export.tokenizer import Tokenizer
from clasp_trt.export.towers.configs import siglip

if TYPE_CHECKING:
    from clasp_trt.export.checkpoint import Checkpoint

DEFAULTS = {"image_token_index": 256000, "projection_dim": 2048, "tie_word_embeddings": True}
WHOLE_VISION = {  # of a vision_config that is missing; one that is there has SigLIP's defaults
    "hidden_size": 1152,
    "intermediate_size": 4096,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "vision_use_head": False,
}
WHOLE_TEXT = {  # likewise
    "hidden_size": 2048,
    "intermediate_size": 16384,
    "num_hidden_layers": 18,
    "num_attention_heads": 8,
    "num_key_value_heads": 1,
    "vocab_size": 257152,
}
IMAGE_TOKEN = "<image>"
TEMPLATE = (
    "{% for message in messages %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% set parts = content['text'].rpartition('<image>') %}"
    "{{ parts[0] + parts[1] + bos_token + parts[2] + '\\n' }}"
    "{% endfor %}{% endfor %}"
)
"""What transformers' processor makes of a prompt: a text begins after its last picture."""


def describe(config: Settings, name: str) -> SquareDescription:
    """The model that ``config`` describes. Raises :class:`CheckpointError` for variants that we do not compile."""
    top = config.over(DEFAULTS)
    vision = top.part("vision_config", WHOLE_VISION if top.get("vision_config") is None else {})
    vision.over({"model_type": "siglip_vision_model"}).require("model_type", "siglip_vision_model")
    tower = replace(siglip(vision, -1), final_norm=False)  # it is the projector's
    text = top.part("text_config", WHOLE_TEXT if top.get("text_config") is None else {}).over({"model_type": "gemma"})
    decoder = gemma(text, "gemma", "gemma2", visible="prefix", tied=top.flag("tie_word_embeddings"))
    if top.count("projection_dim") != decoder.width:
        raise top.wrong("projection_dim", f"the decoder's width {decoder.width}")
    return SquareDescription(
        model_type="paligemma",
        name=name,
        tower=tower,
        projector=ProjectorSpec((tower.width, decoder.width), "gelu", bias=True, patch_norm=tower.norm_epsilon),
        decoder=decoder,
        image_token_id=top.id("image_token_id" if top.has("image_token_id") else "image_token_index"),
    )


class _PaliGemma(Gemma):
    """Prompts are what transformers' processor makes of them, which has a way of its own in place of a template."""

    model_class = "PaliGemmaForConditionalGeneration"

    @cached_property
    def media(self) -> Media:
        tokens, root = self.description.tower.tokens, self._checkpoint.root
        if (length := self.image_settings.get("image_seq_length", tokens)) != tokens:
            raise CheckpointError(
                f"the image processor's settings of {root} cannot be used: image_seq_length is {brief(length)}, but "
                f"the model makes {tokens} tokens of a picture; mend or replace them"
            )
        made = super().media
        return replace(made, image=replace(made.image, positions=Sequential(start=1)))

    def _read_template(self) -> str:
        return TEMPLATE

    def _read_tokenizer(self) -> Tokenizer:
        return Tokenizer.of(self._checkpoint, _taken_over)


def _taken_over(tokenizer: Any) -> None:
    """What the processor does to its tokenizer: tokens of pictures, places and outlines are added, and nothing is
    written around a text."""
    from tokenizers import AddedToken
    from transformers.models.paligemma.processing_paligemma import EXTRA_TOKENS

    if not hasattr(tokenizer, "image_token"):
        image = AddedToken(IMAGE_TOKEN, normalized=False, special=True)
        tokenizer.add_special_tokens({"additional_special_tokens": [image]})
    tokenizer.add_tokens(EXTRA_TOKENS)
    tokenizer.add_bos_token = tokenizer.add_eos_token = False


def family(checkpoint: Checkpoint, description: SquareDescription) -> Gemma:
    """The family of a checkpoint that :func:`describe` has described."""
    return _PaliGemma(checkpoint, description)
