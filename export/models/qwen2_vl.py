"""Qwen2-VL: a tower over pictures of any shape that sees them whole, a merger of patches, and Qwen2 with positions of
three axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clasp_trt.export import videos
from clasp_trt.export.config import Settings
from clasp_trt.export.description import GridDescription
from clasp_trt.export.gridded import Gridded
from clasp_trt.export.models import qwen2_5_vl
from clasp_trt.export.towers.grid_configs import QWEN2_VL

if TYPE_CHECKING:
    from clasp_trt.export.checkpoint import Checkpoint
    from clasp_trt.export.reference import Reference


def describe(config: Settings, name: str) -> GridDescription:
    """The model that ``config`` describes. Raises :class:`CheckpointError` for variants that we do not compile."""
    # before there was a text_config, its fields stood at the top
    text = config if config.get("text_config") is None else config.part("text_config", {})
    return qwen2_5_vl.described(config, text, name, "qwen2_vl", QWEN2_VL, qwen2_5_vl.PIXELS)


def family(checkpoint: Checkpoint, description: GridDescription) -> Gridded:
    """The family of a checkpoint that :func:`describe` has described."""
    return Gridded(checkpoint, description, qwen2_5_vl.LAYOUTS, _reference, videos.BY_FRAME)


def _reference(checkpoint: Checkpoint, description: GridDescription) -> Reference:
    from transformers import Qwen2VLForConditionalGeneration

    return qwen2_5_vl.referred(Qwen2VLForConditionalGeneration, checkpoint, description)
