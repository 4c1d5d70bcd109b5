"""LLaVA-OneVision: LLaVA-NeXT with SigLIP and Qwen2, whose pictures of many tiles are shrunk to a limit."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from clasp_trt.brief import brief
from clasp_trt.errors import CheckpointError
from clasp_trt.export.config import Settings
from clasp_trt.export.description import Film, SquareDescription
from clasp_trt.export.models import llava, llava_next
from clasp_trt.export.standard import Standard
from clasp_trt.tiling import LIMITED_PINPOINTS, Tiling

if TYPE_CHECKING:
    from clasp_trt.export.checkpoint import Checkpoint
    from clasp_trt.export.reference import Reference

DEFAULTS = llava.Defaults(
    top={
        **llava.DEFAULTS.top,
        "image_token_index": 151646,
        "video_token_index": 151647,
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
    },
    vision={
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 26,
        "num_attention_heads": 16,
        "image_size": 384,
        "patch_size": 14,
        "vision_use_head": False,
    },
    tower="siglip_vision_model",
    decoder="qwen2",
)
USUAL_FRAMES = 32
_ASPECT, _LIMITED, _PROCESSOR = "vision_aspect_ratio", "anyres_max_9", "processor_config.json"


def describe(config: Settings, name: str) -> SquareDescription:
    """The model that ``config`` describes. Raises :class:`CheckpointError` for variants that we do not compile."""
    config = config.over(DEFAULTS.top)
    found = llava.described(config, name, DEFAULTS)
    tile, cell = found.tower.image_size, found.tower.patch_size
    tiling = Tiling(tile, cell, llava_next.pinpoints(config, tile, LIMITED_PINPOINTS), limit=_limit(config))
    token = config.id("video_token_id" if config.has("video_token_id") else "video_token_index")
    film = Film(token, found.tower, USUAL_FRAMES, mixed=-(-tiling.grid // 2))
    return replace(found, model_type="llava_onevision", tiling=tiling, film=film)


def _limit(config: Settings) -> int:
    """How many tiles' cells the tokens of a picture are shrunk to."""
    config = config.over({_ASPECT: _LIMITED})
    value = config.get(_ASPECT)
    stated = re.fullmatch(r"anyres_max_([1-9][0-9]{0,2})", value) if isinstance(value, str) else None
    if stated is None:
        raise config.wrong(_ASPECT, f"anyres_max_ and a number of tiles, such as {_LIMITED}")
    return int(stated[1])


def family(checkpoint: Checkpoint, description: SquareDescription) -> Standard:
    """The family of a checkpoint that :func:`describe` has described. Raises :class:`CheckpointError` where its
    processor counts tokens otherwise than its model."""
    assert description.tiling is not None
    limited = f"anyres_max_{description.tiling.limit}"
    counted = checkpoint.json(_PROCESSOR).get(_ASPECT) or _LIMITED
    if counted != limited:
        raise CheckpointError(
            f"{checkpoint.root}: {_ASPECT} of {_PROCESSOR} is {brief(counted)}, but config.json has {limited}; "
            "expected the same in both: mend or replace one of them"
        )
    return Standard(checkpoint, description, llava_next.LAYOUTS, _reference)


def _reference(checkpoint: Checkpoint, description: SquareDescription) -> Reference:
    from transformers import LlavaOnevisionForConditionalGeneration

    from clasp_trt.export.loading import STORED, pretrained
    from clasp_trt.export.reference import Reference
    from clasp_trt.export.towers.reference import Squares

    model = pretrained(LlavaOnevisionForConditionalGeneration, checkpoint, STORED, attention="eager")
    inner = model.model
    eyes = Squares(description.tower, inner.vision_tower, inner.multi_modal_projector, inner.image_newline)
    return Reference(eyes, inner.language_model, model.lm_head)
