"""The selection of CLASP written a second time, straight from its definition, to check all the others.

Similarities are taken between vectors (``u . center``), in float64, one cluster at a time; the package
computes them from a Gram matrix. Nothing here is shared with the package or meant to be fast.

Computed similarities that differ by less than :data:`TIE` count as equal, so that ties which hold by
definition (equal tokens, the two members of a cluster of two) are ties here as well. Saliency is an input,
and is compared exactly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

TIE = 1e-7  # above the rounding of float64 by far, and about that of one float32 similarity


def unit_rows(x: ArrayLike) -> NDArray[np.float64]:
    """Rows of ``x[N, d]`` at length one; a row that is zero or not finite (an invalid token) becomes zero."""
    rows = np.array(x, dtype=np.float64)
    if rows.ndim != 2:
        raise ValueError(f"expected tokens [N, d], got an array of shape {list(rows.shape)}")
    rows[~np.isfinite(rows).all(axis=1)] = 0.0
    largest = np.abs(rows).max(axis=1, keepdims=True)
    rows /= np.where(largest > 0, largest, 1.0)  # so that no square over- or underflows
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1.0)


def top_saliency(phi: ArrayLike, k1: int) -> NDArray[np.bool_]:
    """Pivots (Eq. 12): the ``k1`` largest of ``phi[N]`` as a mask; NaN is minus infinity, ties by index."""
    saliency = np.array(phi, dtype=np.float64)
    saliency[np.isnan(saliency)] = -np.inf
    mask = np.zeros(saliency.shape, dtype=bool)
    mask[np.argsort(-saliency, kind="stable")[:k1]] = True
    return mask


def _first_largest(values: NDArray[np.float64]) -> int:
    """Position of the largest value; among equal ones the first."""
    return int(np.flatnonzero(values > values.max() - TIE)[0])


def _seed_order(tokens: NDArray[np.intp], rho: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.intp]:
    """``tokens`` by (valid first, ``rho`` ascending, index); a run of ``rho`` within TIE counts as equal."""
    ascending = np.argsort(rho, kind="stable")
    level = np.zeros(len(tokens), dtype=np.intp)
    first = -np.inf
    current = -1
    for place in ascending:
        if rho[place] - first >= TIE:
            first = rho[place]
            current += 1
        level[place] = current
    return tokens[np.lexsort((tokens, level, ~valid))]


def _direction(total: NDArray[np.float64], members: int) -> NDArray[np.float64]:
    """Unit vector along a sum of ``members`` unit vectors; zero, similar to nothing, when they cancel out."""
    norm = float(np.linalg.norm(total))
    return total / norm if norm > TIE * members else np.zeros_like(total)


def direct_kmeans(
    x: ArrayLike, pivots: NDArray[np.bool_], keep: int, iterations: int = 5
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Complete ``pivots`` to ``keep`` tokens by spherical k-means over the others (Eqs. 13-18).

    ``x[N, d]`` are the tokens, ``pivots[N]`` marks those that are kept anyway. Returns ``(kept, is_pivot)``:
    ``keep`` ascending indices, int64, and whether each is a pivot. ``keep >= N`` keeps everything. Raises
    ValueError when ``keep`` is below one or below the number of pivots.
    """
    u = unit_rows(x)
    count = len(u)
    clusters = keep - int(pivots.sum())
    if keep < 1 or clusters < 0:
        raise ValueError(f"can't keep {keep} tokens, {int(pivots.sum())} of them pivots")
    if keep >= count:
        return np.arange(count, dtype=np.int64), pivots.copy()

    others = np.flatnonzero(~pivots)
    rho = (u[others] @ u[pivots].T).max(axis=1) if pivots.any() else np.zeros(len(others))
    valid = np.abs(u[others]).max(axis=1) > 0
    order = _seed_order(others, rho, valid)
    centers = u[order[:clusters]]

    assignment = np.full(count, -1)
    for _ in range(iterations if clusters else 0):
        for t in others:
            assignment[t] = _first_largest(centers @ u[t])
        for cluster in range(clusters):
            members = np.flatnonzero(assignment == cluster)
            if len(members):  # an empty cluster keeps its center
                centers[cluster] = _direction(u[members].sum(axis=0), len(members))

    chosen = pivots.copy()
    for cluster in range(clusters):
        members = np.flatnonzero(assignment == cluster)
        if len(members):
            chosen[members[_first_largest(u[members] @ centers[cluster])]] = True
    missing = keep - int(chosen.sum())
    chosen[[t for t in order if not chosen[t]][:missing]] = True
    kept = np.flatnonzero(chosen).astype(np.int64)
    return kept, pivots[kept]


def direct_select(
    phi: ArrayLike, x: ArrayLike, k1: int, keep: int, iterations: int = 5
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Select ``keep`` of N tokens: the ``k1`` of largest ``phi[N]``, and medoids of the rest of ``x[N, d]``.

    Returns ``(kept, is_pivot)`` as :func:`direct_kmeans`. Raises ValueError on a number that makes no sense.
    """
    if k1 < 0 or k1 > keep:
        raise ValueError(f"can't choose {k1} pivots among {keep} kept tokens")
    pivots = top_saliency(phi, k1)
    if len(pivots) != len(np.asarray(x)):
        raise ValueError(f"expected as many saliencies as tokens, got {len(pivots)} and {len(np.asarray(x))}")
    return direct_kmeans(x, pivots, keep, iterations)
