"""Launch plans: which kernels an operator runs at a static shape, over which grids, with which arguments.

Pure data and arithmetic: no CUDA is needed to make a plan, and whoever runs it binds the addresses.
"""

from __future__ import annotations

from clasp_trt.plugins.launch.gram import token_gram
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
    chain,
)
from clasp_trt.plugins.launch.prune import narrow_gram, prune_rows
from clasp_trt.plugins.launch.saliency import attention_saliency, saliency
from clasp_trt.plugins.launch.selection import pivot_select, spherical_kmeans

__all__ = [
    "ALIGNMENT",
    "ITEM_BYTES",
    "Argument",
    "Int32",
    "Launch",
    "LaunchError",
    "Plan",
    "Tensor",
    "TensorSpec",
    "Workspace",
    "attention_saliency",
    "chain",
    "narrow_gram",
    "pivot_select",
    "prune_rows",
    "saliency",
    "spherical_kmeans",
    "token_gram",
]
