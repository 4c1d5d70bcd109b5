"""CDPruner: keep the tokens that are relevant and differ from one another, as a determinant has it.

After Q. Zhang et al., "Beyond Attention or Similarity: Maximizing Conditional Diversity for Token Pruning in MLLMs",
NeurIPS 2025, arXiv:2506.10967: with relevances ``r`` scaled to 0 to 1 and cosine similarities ``G`` the kernel is ``L =
diag(r) G diag(r)``, and the tokens that stay are a greedy maximum of ``det L`` over subsets of their number.

Simplified: the relevance is the saliency of the stage, attention of the text, or of [CLS] before the decoder, where
the paper compares tokens with the prompt through CLIP's text tower, which no checkpoint here brings along; similarities
are those of projected tokens; every stage repeats it on what is left. The greedy step is written as deflation: after a
token is taken, ``L - L[:, j] L[j, :] / L[j, j]`` is what the others still add. But for rounding these are the choices
of the paper's updates of a Cholesky factor, and element by element, so that every implementation rounds alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clasp_trt.methods.interface import Method, Selection, View, selection

LEAST = np.float32(1e-6)
"""What every relevance has more than its share of 0 to 1, and the volume below which nothing is left to take away: less
than that is rounding."""
FAR = np.float32(1e30)
"""Where saliencies are cut off; what is no number counts as the least."""
INVALID, CHOSEN = np.float32(-2), np.float32(-4)
"""On the diagonal, where volumes are 0 to 1."""


def select(view: View) -> Selection:
    """The greedy maximum; none is a pivot. Equal volumes go to the lowest index, tokens without a direction last."""
    kernel = _kernel(view.saliency, view.gram, view.valid)
    for _ in range(min(view.keep, view.tokens)):
        volume = np.diagonal(kernel)
        pick = int(np.argmax(volume))
        row = kernel[pick].copy() if volume[pick] > LEAST else np.zeros(view.tokens, np.float32)
        kernel = kernel - (row[:, None] * row) / (volume[pick] if volume[pick] > LEAST else np.float32(1))
        kernel[pick, pick] = CHOSEN
    return selection(np.flatnonzero(np.diagonal(kernel) < (INVALID + CHOSEN) / 2))


def _kernel(saliency: NDArray[np.float32], gram: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """``L`` float32 ``[tokens, tokens]`` with :data:`INVALID` on the diagonal of what has no direction."""
    known = np.clip(np.where(np.isnan(saliency), -FAR, saliency), -FAR, FAR)
    low = np.where(valid, known, FAR).min()
    span = np.where(valid, known, -FAR).max() - low
    relevance = np.where(valid, (known - low) / span if span > 0 else np.float32(1), np.float32(0)) + LEAST
    kernel: NDArray[np.float32] = (relevance[:, None] * relevance) * gram
    np.fill_diagonal(kernel, np.where(valid, np.diagonal(kernel), INVALID))
    return kernel


CDPRUNER = Method("cdpruner", "keep what is salient and differs, by a determinant", select, form="cdpruner")
