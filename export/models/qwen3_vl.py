"""Qwen3-VL: a tower with a table of positions, whose earlier blocks give the decoder's first layers more to add to the
visual tokens, and Qwen3 with positions of three axes that take turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clasp_trt.export import videos
from clasp_trt.export.config import Settings
from clasp_trt.export.description import GridDescription
from clasp_trt.export.gridded import Gridded
from clasp_trt.export.models import qwen2_5_vl
from clasp_trt.export.towers.grid_configs import QWEN3_VL

if TYPE_CHECKING:
    from clasp_trt.export.checkpoint import Checkpoint
    from clasp_trt.export.reference import Reference

PIXELS = (256 * 16**2, 65536 * 16**2)
"""The least and the most of a picture, as the published image processors say: config.json does not."""
LAYOUTS = (
    (r"^(?:model\.)?visual\.merger\.norm\.", "projector.norm."),
    (r"^(?:model\.)?visual\.merger\.linear_fc1\.", "projector.linear_1."),
    (r"^(?:model\.)?visual\.merger\.linear_fc2\.", "projector.linear_2."),
    *qwen2_5_vl.LAYOUTS[3:],
)
"""Names on disk, and those that graphs use."""


def describe(config: Settings, name: str) -> GridDescription:
    """The model that ``config`` describes. Raises :class:`CheckpointError` for variants that we do not compile."""
    text = config.part("text_config", {})
    return qwen2_5_vl.described(config, text, name, "qwen3_vl", QWEN3_VL, PIXELS)


def family(checkpoint: Checkpoint, description: GridDescription) -> Gridded:
    """The family of a checkpoint that :func:`describe` has described."""
    return Gridded(checkpoint, description, LAYOUTS, _reference, videos.BY_CLIP)


def _reference(checkpoint: Checkpoint, description: GridDescription) -> Reference:
    from transformers import Qwen3VLForConditionalGeneration

    return qwen2_5_vl.referred(Qwen3VLForConditionalGeneration, checkpoint, description)
