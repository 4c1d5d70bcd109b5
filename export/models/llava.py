"""LLaVA-1.5: a CLIP or SigLIP tower, a two-layer projector, a Llama-like decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clasp_trt.errors import CheckpointError
from clasp_trt.export import assets
from clasp_trt.export.config import Settings
from clasp_trt.export.decoder.configs import decoder
from clasp_trt.export.description import Description, ProjectorSpec
from clasp_trt.export.standard import Standard
from clasp_trt.export.towers.configs import TOWERS

if TYPE_CHECKING:
    from clasp_trt.export.checkpoint import Checkpoint
    from clasp_trt.export.reference import Reference

DEFAULTS = {
    "image_token_index": 32000,
    "projector_hidden_act": "gelu",
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
    "multimodal_projector_bias": True,
    "tie_word_embeddings": False,
}
WHOLE_VISION = {  # of a vision_config that is missing: LLaVA-1.5's own; one that is there has CLIP's defaults
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
}
_AUTHORS = ("mm_vision_tower", "mm_hidden_size", "hidden_size", "num_hidden_layers")
"""Fields at the top of a config in the layout of LLaVA's own repositories, which has no ``text_config``."""
LAYOUTS = (
    (r"^(?:model\.)?vision_tower\.(?:vision_model\.)?", "tower."),
    (r"^(?:model\.)?multi_modal_projector\.", "projector."),
    (r"^(?:language_model\.)?lm_head\.", "decoder.lm_head."),
    (r"^(?:model\.)?language_model\.(?:model\.)?", "decoder."),
)
"""Names on disk, old and new, and those that graphs use."""


def describe(config: Settings, name: str) -> Description:
    """The model that ``config`` describes. Raises :class:`CheckpointError` for variants that we do not compile."""
    if not config.has("text_config") and config.has(*_AUTHORS):
        size = "13b" if config.get("hidden_size") == 5120 else "7b"
        raise CheckpointError(
            f"{config.source} is in the layout of LLaVA's authors (sizes at the top, no text_config); expected that of "
            f"transformers: give the converted repository, such as llava-hf/llava-1.5-{size}-hf"
        )
    top = config.over(DEFAULTS)
    vision = top.part("vision_config", WHOLE_VISION if top.get("vision_config") is None else {})
    vision = vision.over({"model_type": "clip_vision_model"})
    kind, layer = (
        vision.require("model_type", "clip_vision_model", "siglip_vision_model"),
        top.get("vision_feature_layer"),
    )
    if type(layer) is not int:
        raise top.wrong("vision_feature_layer", "one layer, such as -2")
    tower = TOWERS[kind](vision, layer)
    if not 0 <= tower.feature_layer <= tower.layers:
        raise top.wrong("vision_feature_layer", f"one hidden state of the tower's {tower.layers} layers, such as -2")
    # every patch is a visual token, and nothing else is
    top.require("vision_feature_select_strategy", "default" if tower.has_cls else "full")
    spec, text = decoder(top.part("text_config", {}), tied=top.flag("tie_word_embeddings"))
    projector = ProjectorSpec(
        widths=(tower.width, spec.width, spec.width),
        activation=top.require("projector_hidden_act", "gelu", "gelu_pytorch_tanh", "silu", "relu"),
        bias=top.flag("multimodal_projector_bias"),
    )
    return Description(
        model_type="llava",
        name=name,
        tower=tower,
        projector=projector,
        decoder=spec,
        image_token_id=top.id("image_token_id" if top.has("image_token_id") else "image_token_index"),
        stop_token_ids=assets.token_ids(text.get("eos_token_id"), f"{text.source} ({text.place})"),
    )


def family(checkpoint: Checkpoint, description: Description) -> Standard:
    """The family of a checkpoint that :func:`describe` has described."""
    return Standard(checkpoint, description, LAYOUTS, _reference)


def _reference(checkpoint: Checkpoint, description: Description) -> Reference:
    import torch
    from transformers import LlavaForConditionalGeneration

    from clasp_trt.export.loading import pretrained
    from clasp_trt.export.reference import Reference

    model = pretrained(LlavaForConditionalGeneration, checkpoint, torch.float32, attention="eager")
    inner = model.model
    return Reference(
        description.tower, inner.vision_tower, inner.multi_modal_projector, inner.language_model, model.lm_head
    )
