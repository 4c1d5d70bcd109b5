"""Idefics3's and SmolVLM's vision tower: SigLIP's, but for which of its positions each patch has."""

from __future__ import annotations

from typing import Any

import torch

from clasp_trt.export.towers.anatomy import Anatomy
from clasp_trt.export.towers.clip import attention
from clasp_trt.export.towers.siglip import ANATOMY as SIGLIP
from clasp_trt.export.towers.spec import TowerSpec


def _build(spec: TowerSpec) -> Any:
    """SigLIP's, whose parts bear the same names: the library's own finds positions anew for every picture."""
    tower = SIGLIP.build(spec)
    tower.embeddings.position_ids = torch.nn.Buffer(positions(spec.image_size // spec.patch_size), persistent=False)
    return tower


def positions(side: int) -> torch.Tensor:
    """int64 ``[1, side * side]``: the position of each patch of a whole tile, in raster order.

    The library sorts fractions of a side into buckets in float32, so that of some sides two neighbours share one.
    """
    with torch.device("cpu"):
        places = torch.arange(side, dtype=torch.float32) * (1.0 / torch.tensor(side))
        bounds = torch.arange(1 / side, 1.0, 1 / side)
        buckets = torch.bucketize(places.clamp(max=1.0 - 1e-6), bounds, right=True)
        return (buckets[:, None] * side + buckets[None]).reshape(1, -1)


def _embed(tower: Any, pixels: torch.Tensor) -> Any:
    """Of the tower that is traced, or of the library's own, which asks which patches of a tile hold anything."""
    if hasattr(tower.embeddings, "position_ids"):
        return tower.embeddings(pixels)
    side = pixels.shape[-1] // tower.patch_size
    return tower.embeddings(pixels, torch.ones(len(pixels), side, side, dtype=torch.bool))


ANATOMY = Anatomy("Idefics3", _build, _embed, SIGLIP.blocks, attention)
