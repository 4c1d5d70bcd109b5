"""Tokenised requests about one square picture, made by hand."""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.runtime.media.seen import Block
from clasp_trt.runtime.text.prompt import Prompt


def boxes(side: int, cell: float = 1.0) -> NDArray[np.float32]:
    """float32 ``[side * side, 4]``: squares of ``cell`` pixels in raster order."""
    top, left = np.divmod(np.arange(side * side), side)
    corners: NDArray[np.float32] = (np.stack([left, top, left + 1, top + 1], axis=1) * cell).astype(np.float32)
    return corners


def prompt_of(
    ids: NDArray[Any],
    visual_index: NDArray[Any] | None = None,
    reference_index: NDArray[Any] | None = None,
    *,
    start: int = 0,
) -> Prompt:
    """``ids`` at positions from ``start`` on; the visual tokens, if there are any, are those of a square."""
    none = np.zeros(0, dtype=np.int64)
    visual = none if visual_index is None else visual_index
    side = isqrt(len(visual))
    blocks = (Block(len(visual), (1, side, side), boxes(side)),) if len(visual) else ()
    positions = np.arange(start, start + len(ids))[None]
    reference = none if reference_index is None else reference_index
    return Prompt(ids, visual, reference, positions, start + len(ids), (blocks,) if blocks else ())
