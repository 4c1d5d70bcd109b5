"""LLaVA-NeXT-Video: LLaVA-NeXT that takes clips too, whose patches are averaged before they are projected."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt
from typing import TYPE_CHECKING

from clasp_trt.export.config import Settings
from clasp_trt.export.description import Film, SquareDescription
from clasp_trt.export.models import llava_next
from clasp_trt.export.standard import Standard

if TYPE_CHECKING:
    from clasp_trt.export.checkpoint import Checkpoint
    from clasp_trt.export.reference import Reference

DEFAULTS = {
    "image_token_index": 32001,
    "video_token_index": 32000,
    "spatial_pool_mode": "average",
    "spatial_pool_stride": 2,
}
USUAL_FRAMES = 32
_STRIDE = 2  # transformers' processor counts four patches a token, whatever the config says


def describe(config: Settings, name: str) -> SquareDescription:
    """The model that ``config`` describes. Raises :class:`CheckpointError` for variants that we do not compile."""
    top = config.over(DEFAULTS)
    found = llava_next.describe(top, name)
    top.require("spatial_pool_mode", "average")
    top.require("spatial_pool_stride", _STRIDE)
    if isqrt(found.tower.patches) % _STRIDE:
        raise top.wrong("spatial_pool_stride", f"a divisor of the tower's {isqrt(found.tower.patches)} patches a side")
    token = top.id("video_token_id" if top.has("video_token_id") else "video_token_index")
    film = Film(token, found.tower, USUAL_FRAMES, pool=_STRIDE)
    return replace(found, model_type="llava_next_video", film=film)


def family(checkpoint: Checkpoint, description: SquareDescription) -> Standard:
    """The family of a checkpoint that :func:`describe` has described."""
    return Standard(checkpoint, description, llava_next.LAYOUTS, _reference)


def _reference(checkpoint: Checkpoint, description: SquareDescription) -> Reference:
    from transformers import LlavaNextVideoForConditionalGeneration

    from clasp_trt.export.loading import STORED, pretrained
    from clasp_trt.export.reference import Reference
    from clasp_trt.export.towers.reference import Squares

    model = pretrained(LlavaNextVideoForConditionalGeneration, checkpoint, STORED, attention="eager")
    inner, spec = model.model, description.tower
    eyes = Squares(spec, inner.vision_tower, inner.multi_modal_projector, inner.image_newline)
    watching = Squares(spec, inner.vision_tower, inner.multi_modal_projector, pool=_STRIDE)
    return Reference(eyes, inner.language_model, model.lm_head, watching)
