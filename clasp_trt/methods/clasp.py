"""CLASP: attention pivots, completed by medoids of what they leave out.

Y. Dang et al., "CLASP: Class-Adaptive Layer Fusion and Dual-Stage Pruning for Multimodal Large Language Models",
arXiv:2604.12767, Eqs. 8-18. The definition is :mod:`clasp_trt.ops`, of which the bundle's prune graphs are the compiled
form; on the host it serves to check them. ``clasp-fixed`` is the same without layer fusion (Eqs. 8-9): it
reads the one vision layer that the checkpoint reads by itself, as all the other methods here do, and so shows what
selection alone gives.
"""

from __future__ import annotations

import numpy as np

from clasp_trt.methods.interface import Method, Selection, View
from clasp_trt.ops import pivot_select, spherical_kmeans


def select(view: View) -> Selection:
    """``pivot_count`` pivots and medoids for the other places."""
    pivots = pivot_select(view.saliency[None], np.array([view.pivot_count]), view.keep)
    kept, is_pivot = spherical_kmeans(view.gram[None], pivots, view.keep)
    return kept[0], is_pivot[0]


CLASP_FIXED = Method(
    "clasp-fixed",
    "CLASP's selection on the checkpoint's own vision layer",
    select,
    form="clasp",
    completes=True,
)
CLASP = Method(
    "clasp", "CLASP: class-adaptive layer fusion and dual-stage pruning", select,
    fused=True, form="clasp", completes=True,
)  # fmt: skip
