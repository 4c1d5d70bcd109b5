"""The two operators this project adds to ONNX (:mod:`clasp_trt.operators`) as numpy references, and the Gram matrix.

The references are normative: every implementation agrees with them index for index, given the same Gram matrix.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clasp_trt.ops.gram import GRAM_STEPS, token_gram
from clasp_trt.ops.most_salient import most_salient
from clasp_trt.ops.pivot_select import pivot_select
from clasp_trt.ops.spherical_kmeans import ITERATIONS, spherical_kmeans

__all__ = [
    "GRAM_STEPS",
    "ITERATIONS",
    "most_salient",
    "pivot_select",
    "select",
    "spherical_kmeans",
    "token_gram",
]


def select(
    saliency: ArrayLike,
    x: NDArray[np.generic],
    pivot_count: ArrayLike,
    keep: int,
    iterations: int = ITERATIONS,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """One pruning stage from saliency ``[batch, tokens]`` and tokens ``x`` ``[batch, tokens, width]``.

    Returns ``(kept, is_pivot)`` as :func:`spherical_kmeans` does; ``pivot_count`` is ``[batch]``.
    """
    pivots = pivot_select(saliency, pivot_count, keep)
    return spherical_kmeans(token_gram(x), pivots, keep, iterations)
