"""LLaVA-1.5: a CLIP, SigLIP or DINOv2 tower, a two-layer projector, a Llama-like decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clasp_trt.errors import CheckpointError
from clasp_trt.export.config import AUTHORS, Settings
from clasp_trt.export.decoder.configs import decoder
from clasp_trt.export.description import SquareDescription
from clasp_trt.export.specs import ProjectorSpec
from clasp_trt.export.standard import Standard
from clasp_trt.export.towers.configs import TOWERS

if TYPE_CHECKING:
    from clasp_trt.export.checkpoint import Checkpoint
    from clasp_trt.export.reference import Reference
    from clasp_trt.export.towers.spec import TowerSpec


@dataclass(frozen=True)
class Defaults:
    """What transformers takes for what a config leaves out: fields of the ``top``; a whole ``vision`` that is missing;
    and which ``tower`` and ``decoder`` there are, of whose own defaults the rest is."""

    top: Mapping[str, Any]
    vision: Mapping[str, Any]
    tower: str
    decoder: str


DEFAULTS = Defaults(
    top={
        "image_token_index": 32000,
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "multimodal_projector_bias": True,
        "tie_word_embeddings": False,
    },
    vision={
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 336,
        "patch_size": 14,
    },
    tower="clip_vision_model",
    decoder="llama",
)
_DECODERS_OWN = frozenset(
    (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "vocab_size",
    )
)
"""What a ``text_config`` says. Where there is none, transformers has Llama's defaults, whatever the top says."""
_TOWER = r"^(?:model\.)?vision_tower\.(?:vision_model\.)?"
LAYOUTS = (
    *(  # DINOv2's
        (rf"{_TOWER}encoder\.layer\.(\d+)\.attention\.{old}\.", rf"tower.encoder.layer.\1.attention.{new}_proj.")
        for old, new in (
            (r"attention\.query", "q"),
            (r"attention\.key", "k"),
            (r"attention\.value", "v"),
            (r"output\.dense", "o"),
        )
    ),
    (_TOWER, "tower."),
    (r"^(?:model\.)?multi_modal_projector\.", "projector."),
    (r"^(?:language_model\.)?lm_head\.", "decoder.lm_head."),
    (r"^(?:model\.)?language_model\.(?:model\.)?", "decoder."),
)
"""Names on disk, old and new, and those that graphs use."""


def describe(config: Settings, name: str) -> SquareDescription:
    """The model that ``config`` describes. Raises :class:`CheckpointError` for variants that we do not compile."""
    return described(config, name, DEFAULTS)


def described(config: Settings, name: str, defaults: Defaults) -> SquareDescription:
    """The same by other ``defaults``."""
    _refuse_flat(config)
    top = config.over(defaults.top)
    vision = top.part("vision_config", defaults.vision if top.get("vision_config") is None else {})
    vision = vision.over({"model_type": defaults.tower})
    kind = vision.require("model_type", "clip_vision_model", "siglip_vision_model", "dinov2")
    tower = TOWERS[kind](vision, feature_layer(top))
    check_feature_layer(top, tower)
    # every patch is a visual token, and nothing else is
    top.require("vision_feature_select_strategy", "default" if tower.has_cls else "full")
    text = top.part("text_config", {}).over({"model_type": defaults.decoder})
    spec = decoder(text, tied=top.flag("tie_word_embeddings"))
    projector = ProjectorSpec(
        widths=(tower.width, spec.width, spec.width),
        activation=top.activation("projector_hidden_act", "gelu", "gelu_pytorch_tanh", "silu", "relu"),
        bias=top.flag("multimodal_projector_bias"),
    )
    return SquareDescription(
        model_type="llava",
        name=name,
        tower=tower,
        projector=projector,
        decoder=spec,
        image_token_id=top.id("image_token_id" if top.has("image_token_id") else "image_token_index"),
    )


def feature_layer(top: Settings) -> int:
    """One layer, as a number or alone in a list: a projector of both kinds takes the width of one."""
    layer = top.get("vision_feature_layer")
    if isinstance(layer, list) and len(layer) == 1:
        (layer,) = layer
    if type(layer) is not int:
        raise top.wrong("vision_feature_layer", "one layer, such as -2")
    return layer


def check_feature_layer(top: Settings, tower: TowerSpec) -> None:
    """Raises :class:`CheckpointError` if the tower has no such layer."""
    if not 0 <= tower.feature_layer <= tower.layers:
        raise top.wrong("vision_feature_layer", f"one hidden state of the tower's {tower.layers} layers, such as -2")


def _refuse_flat(config: Settings) -> None:
    """Sizes at the top and no ``text_config``: not transformers' layout, which would leave them unread."""
    flat = sorted(name for name in config.given if name in _DECODERS_OWN or name.startswith(AUTHORS))
    if config.get("text_config") is not None or not flat:
        return
    if not any(name.startswith(AUTHORS) for name in flat):
        raise CheckpointError(
            f"{config.source} has {flat[0]} at the top and no text_config, in which transformers looks for it; "
            "expected the decoder's sizes in text_config: take the config.json of the converted repository"
        )
    size = "13b" if config.get("hidden_size") == 5120 else "7b"
    named = next(name for name in (*("mm_vision_tower",), *flat) if name in flat and name.startswith(AUTHORS))
    raise CheckpointError(
        f"{config.source} is in the layout of LLaVA's authors ({named} at the top, no text_config); expected that of "
        f"transformers: give the converted repository, such as llava-hf/llava-1.5-{size}-hf"
    )


def family(checkpoint: Checkpoint, description: SquareDescription) -> Standard:
    """The family of a checkpoint that :func:`describe` has described."""
    return Standard(checkpoint, description, LAYOUTS, _reference)


def _reference(checkpoint: Checkpoint, description: SquareDescription) -> Reference:
    from transformers import LlavaForConditionalGeneration

    from clasp_trt.export.loading import STORED, pretrained
    from clasp_trt.export.reference import Reference
    from clasp_trt.export.towers.reference import Squares

    model = pretrained(LlavaForConditionalGeneration, checkpoint, STORED, attention="eager")
    inner = model.model
    eyes = Squares(description.tower, inner.vision_tower, inner.multi_modal_projector)
    return Reference(eyes, inner.language_model, model.lm_head)
