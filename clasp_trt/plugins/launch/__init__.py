"""Launch plans: which kernels an operator runs at a static shape, over which grids, with which arguments.

Pure data and arithmetic: no CUDA is needed to make a plan, and whoever runs it binds the addresses.
"""

from __future__ import annotations

from clasp_trt.plugins.launch.plan import (
    ALIGNMENT,
    ITEM_BYTES,
    Argument,
    Int32,
    Launch,
    LaunchError,
    Plan,
    Tensor,
    TensorSpec,
    Workspace,
)
from clasp_trt.plugins.launch.selection import MAX_TOKENS, pivot_select, spherical_kmeans

__all__ = [
    "ALIGNMENT",
    "ITEM_BYTES",
    "MAX_TOKENS",
    "Argument",
    "Int32",
    "Launch",
    "LaunchError",
    "Plan",
    "Tensor",
    "TensorSpec",
    "Workspace",
    "pivot_select",
    "spherical_kmeans",
]
