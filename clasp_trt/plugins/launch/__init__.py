"""Launch plans: which kernels an operator runs at a shape, over which grids, with which arguments; and recipes, which
say it of every shape.

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
from clasp_trt.plugins.launch.recipe import Recipe
from clasp_trt.plugins.launch.selection import (
    MAX_TOKENS,
    pivot_select,
    pivot_select_recipe,
    spherical_kmeans,
    spherical_kmeans_recipe,
)

__all__ = [
    "ALIGNMENT",
    "ITEM_BYTES",
    "MAX_TOKENS",
    "Argument",
    "Int32",
    "Launch",
    "LaunchError",
    "Plan",
    "Recipe",
    "Tensor",
    "TensorSpec",
    "Workspace",
    "pivot_select",
    "pivot_select_recipe",
    "spherical_kmeans",
    "spherical_kmeans_recipe",
]
