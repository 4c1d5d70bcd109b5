"""Which patches a vision tower keeps between two of its blocks: the most salient, and no other rule."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clasp_trt.ops.pivot_select import pivot_select


def most_salient(saliency: ArrayLike, keep: int) -> NDArray[np.int64]:
    """The ``keep`` most salient tokens of each row of ``saliency`` ``[batch, tokens]``, int64 ``[batch, keep]``,
    ascending: those that :func:`clasp_trt.ops.pivot_select` marks where all that stay are pivots.

    NaN counts as minus infinity, and equal saliencies go to the lowest index. Raises :class:`ValueError` unless
    ``keep`` is 1 to ``tokens``.
    """
    batch, tokens = np.shape(saliency)
    if not 1 <= keep <= tokens:
        raise ValueError(f"keep is {keep}, expected 1 to {tokens}")
    marks = pivot_select(saliency, np.full(batch, keep), keep)
    return np.stack([np.flatnonzero(row) for row in marks]).astype(np.int64).reshape(batch, keep)
