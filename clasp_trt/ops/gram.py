"""The cosine Gram matrix of visual tokens: the only step of the selection that reads the tokens themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GRAM_STEPS = 1 << 20
"""Similarities are multiples of ``1 / GRAM_STEPS``. Sums of them are then exact in integers and do not depend on the
order of summation, which is what makes every implementation agree index for index."""


def token_gram(x: NDArray[np.generic]) -> NDArray[np.float32]:
    """Cosine similarities of the rows of ``x``, ``G = U U^T`` with ``u_t = x_t / |x_t|`` (Eq. 24).

    ``x`` is ``[batch, tokens, width]`` of any float type; the result is float32 ``[batch, tokens, tokens]``, exactly
    symmetric, every entry a multiple of ``1 / GRAM_STEPS`` in ``[-1, 1]``. The diagonal is exactly 1, except for
    invalid tokens (rows that are zero or not finite): their whole row and column is 0, diagonal included, so the
    matrix also says which tokens are valid.

    Sums run in float64 here; implementations accumulate in float32 at least, so entries may differ by one step.
    """
    rows = np.asarray(x).astype(np.float64)
    valid = np.isfinite(rows).all(-1) & (rows != 0).any(-1)
    rows = np.where(valid[..., None], rows, 0.0)
    peak = np.abs(rows).max(-1, keepdims=True, initial=0.0)
    rows = np.divide(rows, peak, out=np.zeros_like(rows), where=peak > 0)  # squares neither overflow nor vanish
    norm = np.sqrt((rows * rows).sum(-1, keepdims=True))
    unit = np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 0)
    cosine = np.clip(unit @ np.swapaxes(unit, -1, -2), -1.0, 1.0)
    cosine = np.triu(cosine) + np.swapaxes(np.triu(cosine, 1), -1, -2)
    steps = np.rint(cosine.astype(np.float32) * np.float32(GRAM_STEPS))
    index = np.arange(rows.shape[-2])
    steps[..., index, index] = valid * np.float32(GRAM_STEPS)
    return np.asarray(steps / np.float32(GRAM_STEPS), dtype=np.float32)
