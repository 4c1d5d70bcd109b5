"""SparseVLM: keep what the relevant words of the prompt attend to most.

After Y. Zhang et al., "SparseVLM: Visual Token Sparsification for Efficient Vision-Language Model Inference", ICML
2025, arXiv:2410.04417. Of the text after the image, those tokens rate that matter to the image: with ``H_v`` the
embedded visual tokens and ``H_q`` the embedded text, ``r`` is ``softmax(H_v H_q^T)`` over the text, averaged over the
visual tokens, and the raters are the text tokens whose ``r`` is not below its mean (the released code asks for more
than the mean, which no token has where all are equal). Visual tokens are then ranked by the attention that they receive
from the raters, averaged over heads and raters.

Simplified: the number kept is the schedule's (the published ones are SparseVLM's own) instead of adapted by the rank of
the attention matrix; dropped tokens are not recycled, that is clustered and merged, because what a stage keeps are
indices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clasp_trt.methods.interface import Method, Selection, View, ranked, selection, usable


def raters(text: NDArray[np.float32], visual: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which rows of ``text`` ``[rows, width]`` rate ``visual`` ``[tokens, width]``: bool ``[rows]``, at least one.

    Not a number anywhere, as in a half-precision overflow, makes every row a rater.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        scores = visual.astype(np.float64) @ text.astype(np.float64).T
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        relevance = (weights / weights.sum(axis=1, keepdims=True)).mean(axis=0)
        rate: NDArray[np.bool_] = relevance >= relevance.mean()
    return rate if rate.any() else np.ones(len(text), dtype=np.bool_)  # equal relevances may round below their mean


def select(view: View) -> Selection:
    """The ``keep`` tokens to which the raters attend most; each is a pivot."""
    best = ranked(usable(view.saliency, view.valid))[: view.keep]
    return selection(best, pivots=best)


SPARSEVLM = Method(
    "sparsevlm", "keep the tokens that relevant words attend to most", select, form="sparsevlm", raters=raters
)
