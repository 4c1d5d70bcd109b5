"""Layers of a tower whose grids differ, brought onto one: the paper's Appendix B.2.

A hierarchical tower merges patches on its way, so that early layers have more rows than the one that the checkpoint was
trained on. Fusion (Eq. 9) adds rows of the same place, which are first made of whatever rows cover that place.
"""

from __future__ import annotations

from math import isqrt

import torch
from torch.nn.functional import avg_pool2d, interpolate


def aligned(rows: torch.Tensor, count: int) -> torch.Tensor:
    """``rows`` ``[batch, patches, width]`` of a square grid on that of ``count`` patches, ``[batch, count, width]``.

    Where a place has several patches it gets their mean; where several places have one patch, each gets that. Raises
    :class:`ValueError` for grids of which neither divides the other.
    """
    if rows.shape[1] == count:
        return rows
    side, wanted = isqrt(rows.shape[1]), isqrt(count)
    if (side**2, wanted**2) != (rows.shape[1], count) or (side % wanted and wanted % side):
        raise ValueError(
            f"{rows.shape[1]} patches cannot be laid onto {count}: expected square grids, one of the other"
        )
    batch, width = rows.shape[0], rows.shape[2]
    grid = rows.transpose(1, 2).reshape(batch, width, side, side)
    if side > wanted:
        grid = avg_pool2d(grid, side // wanted)
    else:
        grid = interpolate(grid, scale_factor=wanted // side, mode="nearest")
    return grid.flatten(2).transpose(1, 2)
