"""Video-LLaVA: LLaVA with a second tower, for the frames of clips, whose [CLS] is a visual token too."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from clasp_trt.export.config import Settings
from clasp_trt.export.description import Film, SquareDescription
from clasp_trt.export.models import llava
from clasp_trt.export.standard import Standard

if TYPE_CHECKING:
    from clasp_trt.export.checkpoint import Checkpoint
    from clasp_trt.export.reference import Reference

DEFAULTS = replace(
    llava.DEFAULTS,
    top={**llava.DEFAULTS.top, "video_token_index": 32001},
    vision={**llava.DEFAULTS.vision, "image_size": 224},
)
USUAL_FRAMES = 8
_TOWERS = tuple(
    (rf"^(?:model\.)?{there}\.(?:vision_model\.)?", here)
    for there, here in (("image_tower", "tower."), ("video_tower", "video.tower."))
)
LAYOUTS = (*_TOWERS, *llava.LAYOUTS)


def describe(config: Settings, name: str) -> SquareDescription:
    """The model that ``config`` describes. Raises :class:`CheckpointError` for variants that we do not compile."""
    top = config.over(DEFAULTS.top)
    top.part("vision_config", {"model_type": DEFAULTS.tower}).require("model_type", DEFAULTS.tower)
    found = llava.described(top, name, DEFAULTS)
    token = top.id("video_token_id" if top.has("video_token_id") else "video_token_index")
    film = Film(token, replace(found.tower, keeps_cls=True), USUAL_FRAMES, own=True)
    return replace(found, model_type="video_llava", film=film)


def family(checkpoint: Checkpoint, description: SquareDescription) -> Standard:
    """The family of a checkpoint that :func:`describe` has described."""
    return Standard(checkpoint, description, LAYOUTS, _reference)


def _reference(checkpoint: Checkpoint, description: SquareDescription) -> Reference:
    from transformers import VideoLlavaForConditionalGeneration

    from clasp_trt.export.loading import STORED, pretrained
    from clasp_trt.export.reference import Reference
    from clasp_trt.export.towers.reference import Squares

    model = pretrained(VideoLlavaForConditionalGeneration, checkpoint, STORED, attention="eager")
    inner, film = model.model, description.film
    assert film is not None
    eyes = Squares(description.tower, inner.image_tower, inner.multi_modal_projector)
    watching = Squares(film.tower, inner.video_tower, inner.multi_modal_projector)
    return Reference(eyes, inner.language_model, model.lm_head, watching)
