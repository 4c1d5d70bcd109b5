"""Qwen2.5-VL: a tower of windows over pictures of any shape, a merger of patches, and Qwen2 with positions of three
axes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from clasp_trt.export import videos
from clasp_trt.export.config import Settings
from clasp_trt.export.decoder.configs import decoder
from clasp_trt.export.description import GridDescription
from clasp_trt.export.gridded import Gridded
from clasp_trt.export.towers.grid_configs import QWEN2_5_VL, Kind, grid_tower

if TYPE_CHECKING:
    from clasp_trt.export.checkpoint import Checkpoint
    from clasp_trt.export.reference import Reference

PIXELS = (4 * 28**2, 16384 * 28**2)
"""The least and the most of a picture, as the published image processors say: config.json does not."""
DEFAULTS = {"image_token_id": 151655, "video_token_id": 151656, "tie_word_embeddings": False}
RATE = 4
"""Positions of a second of a clip where the config does not say."""
LAYOUTS = (
    (r"^(?:model\.)?visual\.merger\.ln_q\.", "projector.norm."),
    (r"^(?:model\.)?visual\.merger\.mlp\.0\.", "projector.linear_1."),
    (r"^(?:model\.)?visual\.merger\.mlp\.2\.", "projector.linear_2."),
    (r"^(?:model\.)?visual\.", "tower."),
    (r"^lm_head\.", "decoder.lm_head."),
    (r"^model\.(?:language_model\.)?", "decoder."),
)
"""Names on disk, old and new, and those that graphs use."""


def describe(config: Settings, name: str) -> GridDescription:
    """The model that ``config`` describes. Raises :class:`CheckpointError` for variants that we do not compile."""
    # before there was a text_config, its fields stood at the top
    text = config if config.get("text_config") is None else config.part("text_config", {})
    found = described(config, text, name, "qwen2_5_vl", QWEN2_5_VL, PIXELS)
    vision = config.part("vision_config", {}).over({"tokens_per_second": RATE})
    return replace(found, rate=vision.count("tokens_per_second"))


def described(
    config: Settings, text: Settings, name: str, model_type: str, kind: Kind, pixels: tuple[int, int]
) -> GridDescription:
    """A model of this architecture, whose tower is of ``kind`` and whose decoder's fields are those of ``text``, for
    pictures of ``pixels``."""
    top = config.over(DEFAULTS)
    vision = top.part("vision_config", {})
    own = f"{model_type}_text"
    if text is not config:
        text.require("model_type", None, own)
    vision.require("model_type", None, model_type, f"{model_type}_vision")  # old configs repeat that of the whole
    spec = decoder(text, tied=top.flag("tie_word_embeddings"), known=own)
    tower = grid_tower(vision, kind, pixels)
    if tower.merger.out != spec.width:
        raise vision.over(kind.defaults).wrong(kind.out, f"the decoder's width {spec.width}")
    if len(tower.deepstack) >= spec.layers:
        fewer = f"fewer blocks than the decoder's {spec.layers} layers, the first of which add what these give"
        raise vision.over(kind.defaults).wrong("deepstack_visual_indexes", fewer)
    return GridDescription(
        model_type=model_type,
        name=name,
        tower=tower,
        projector=tower.merger,
        decoder=replace(spec, deepstack=len(tower.deepstack)),
        image_token_id=top.id("image_token_id"),
        video=top.id("video_token_id"),
    )


def family(checkpoint: Checkpoint, description: GridDescription) -> Gridded:
    """The family of a checkpoint that :func:`describe` has described."""
    return Gridded(checkpoint, description, LAYOUTS, _reference, videos.BY_FRAME)


def _reference(checkpoint: Checkpoint, description: GridDescription) -> Reference:
    from transformers import Qwen2_5_VLForConditionalGeneration

    return referred(Qwen2_5_VLForConditionalGeneration, checkpoint, description)


def referred(kind: Any, checkpoint: Checkpoint, description: GridDescription) -> Reference:
    """The checkpoint's modules, loaded as transformers' class ``kind``."""

    from clasp_trt.export.loading import STORED, pretrained
    from clasp_trt.export.reference import Reference
    from clasp_trt.export.towers.grid_reference import Grids

    model = pretrained(kind, checkpoint, STORED, attention="eager")
    inner = model.model
    return Reference(Grids(description.tower, inner.visual), inner.language_model, model.lm_head)
