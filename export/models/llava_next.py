"""LLaVA-NeXT (LLaVA-1.6): LLaVA whose pictures are cut into tiles, packed with a token at the end of each row."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from clasp_trt.bundle.media import MAX_SIDE
from clasp_trt.export.config import Settings
from clasp_trt.export.description import SquareDescription
from clasp_trt.export.models import llava
from clasp_trt.export.standard import Standard
from clasp_trt.tiling import PINPOINTS, Tiling

if TYPE_CHECKING:
    from clasp_trt.export.checkpoint import Checkpoint
    from clasp_trt.export.reference import Reference

LAYOUTS = (*llava.LAYOUTS, (r"^(?:model\.)?image_newline$", "newline"))


def describe(config: Settings, name: str) -> SquareDescription:
    """The model that ``config`` describes. Raises :class:`CheckpointError` for variants that we do not compile."""
    found = llava.describe(config, name)
    tile, cell = found.tower.image_size, found.tower.patch_size
    return replace(found, model_type="llava_next", tiling=Tiling(tile, cell, pinpoints(config, tile, PINPOINTS)))


def pinpoints(config: Settings, tile: int, default: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """Heights and widths of the canvases, or the ``default``, all of whole tiles of ``tile`` pixels."""
    given = config.get("image_grid_pinpoints") if config.has("image_grid_pinpoints") else None
    if given is None:
        given = [list(each) for each in default]
    if not isinstance(given, list) or not given or not all(_is_canvas(each, tile) for each in given):
        raise config.wrong(
            "image_grid_pinpoints", f"heights and widths that are multiples of the tower's {tile} pixels"
        )
    return tuple((height, width) for height, width in given)


def _is_canvas(each: object, tile: int) -> bool:
    return (
        isinstance(each, list)
        and len(each) == 2
        and all(type(side) is int and 0 < side <= MAX_SIDE and side % tile == 0 for side in each)
    )


def family(checkpoint: Checkpoint, description: SquareDescription) -> Standard:
    """The family of a checkpoint that :func:`describe` has described."""
    return Standard(checkpoint, description, LAYOUTS, _reference)


def _reference(checkpoint: Checkpoint, description: SquareDescription) -> Reference:
    from transformers import LlavaNextForConditionalGeneration

    from clasp_trt.export.loading import STORED, pretrained
    from clasp_trt.export.reference import Reference
    from clasp_trt.export.towers.reference import Squares

    model = pretrained(LlavaNextForConditionalGeneration, checkpoint, STORED, attention="eager")
    inner = model.model
    eyes = Squares(description.tower, inner.vision_tower, inner.multi_modal_projector, inner.image_newline)
    return Reference(eyes, inner.language_model, model.lm_head)
