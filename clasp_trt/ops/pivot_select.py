"""``ClaspPivotSelect``: the attention-salient tokens that a stage keeps first (Eq. 12)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pivot_select(saliency: ArrayLike, pivot_count: ArrayLike, keep: int) -> NDArray[np.bool_]:
    """Marks the ``pivot_count`` most salient tokens of each row; all of them where there are no more.

    ``saliency`` is ``[batch, tokens]`` (NaN counts as minus infinity), ``pivot_count`` ``[batch]`` with
    ``0 <= pivot_count <= keep``; the result is bool ``[batch, tokens]``. Equal saliencies go to the lowest index.
    Raises :class:`ValueError` outside those bounds.
    """
    phi = np.asarray(saliency, dtype=np.float32)
    counts = np.asarray(pivot_count, dtype=np.int64)
    if keep < 1:
        raise ValueError(f"keep is {keep}, expected at least 1")
    if counts.shape != phi.shape[:1]:
        raise ValueError(f"pivot_count has shape {counts.shape}, expected {phi.shape[:1]}")
    if counts.size and (counts.min() < 0 or counts.max() > keep):
        raise ValueError(f"pivot_count is {counts.tolist()}, expected 0 to keep = {keep}")
    phi = np.where(np.isnan(phi), -np.inf, phi)
    order = np.argsort(-phi, axis=1, kind="stable")  # stable: equal keys stay in index order
    pivots = np.zeros(phi.shape, dtype=np.bool_)
    for row, (best, count) in enumerate(zip(order, counts, strict=True)):
        pivots[row, best[:count]] = True
    return pivots
