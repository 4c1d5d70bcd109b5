"""Tokens that stand for a request: TAMP's adaptive multimodal input activation (Lee et al., 2025, arXiv:2504.09897).

Of the outputs of a linear layer, tokens are taken one by one, each time the one with the greatest score: the attention
that the last row pays it, and that of its nearest neighbours by how near they are. What is taken lowers its neighbours.
It ends when the kernel mean of those that were taken is as near that of all as their density asks. Constants are those
of the authors' code.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_NEIGHBOURS = 3
_BETA = 0.2
"""How fast the lowering of neighbours falls with their distance."""
_NEAR = 0.1
"""Times the root of one less the density: the squared discrepancy to end at."""


def unit(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    """``rows`` ``[tokens, width]`` by their lengths; a row of zeros stays one."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    found: NDArray[np.floating] = rows / np.maximum(lengths, np.finfo(rows.dtype).tiny)
    return found


def densities(cosines: NDArray[np.floating], visual: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Means of ``cosines`` ``[tokens, tokens]``: of pairs of ``visual`` tokens and of pairs of others, those above 0,
    and of one with the other. 0 where there are none."""
    text = ~visual
    own = (_mean_of_pairs(cosines[np.ix_(which, which)]) for which in (visual, text))
    across = cosines[np.ix_(visual, text)]
    return (*own, float(across.mean(dtype=np.float64)) if across.size else 0.0)  # type: ignore[return-value]


def _mean_of_pairs(cosines: NDArray[np.floating]) -> float:
    pairs = cosines[np.triu_indices(len(cosines), 1)]
    above = pairs[pairs > 0]
    return float(above.mean(dtype=np.float64)) if above.size else 0.0


def representatives(
    outputs: NDArray[np.floating], visual: NDArray[np.bool_], attention: NDArray[np.floating]
) -> NDArray[np.int64]:
    """Indices of the tokens that stand for all, in the order in which they were taken, at least one: of ``outputs``
    ``[tokens, width]``, ``visual`` ``[tokens]`` or not, to which the last row pays ``attention`` ``[tokens]``. Of equal
    scores the lower index is taken."""
    tokens, rows = len(outputs), unit(outputs)
    cosines = rows @ rows.T
    ending = _NEAR * max(0.0, 1 - sum(densities(cosines, visual)) / 3) ** 0.5
    apart = 1 - cosines
    np.fill_diagonal(apart, np.inf)  # no token is its own neighbour
    near = np.argsort(apart, axis=1, kind="stable")[:, : min(_NEIGHBOURS, tokens - 1)]
    distances = np.take_along_axis(apart, near, axis=1)
    scores = attention.astype(np.float64) + (np.exp(-distances) * attention[near]).sum(axis=1)
    kernel = np.exp(-(np.square(rows).sum(1)[:, None] + np.square(rows).sum(1)[None] - 2 * cosines) / 2)
    whole, means = float(kernel.mean(dtype=np.float64)), kernel.mean(axis=0, dtype=np.float64)
    taken, is_left = list[int](), np.ones(tokens, bool)
    to_taken, across, among = np.zeros(tokens), 0.0, 0.0
    while len(taken) < tokens:
        token = int(np.where(is_left, scores, -np.inf).argmax())
        scores[near[token]] -= np.exp(-_BETA * distances[token]) * max(float(scores[token]), 0.0)
        is_left[token] = False
        taken.append(token)
        to_taken += kernel[:, token]
        across += float(means[token])
        among += 2 * float(to_taken[token]) - float(kernel[token, token])
        count = len(taken)
        if whole + among / count**2 - 2 * across / count < ending:
            break
    return np.array(taken, np.int64)
