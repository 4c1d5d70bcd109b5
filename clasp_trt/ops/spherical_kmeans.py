"""``ClaspSphericalKMeans``: completes pivots with medoids of a fixed-iteration spherical k-means (Eqs. 13-18).

Everything happens on the Gram matrix ``G``: with ``S[t, k]`` the sum of ``G[t, i]`` over the members ``i`` of cluster
``k`` and ``C[k]`` the sum of ``S[t, k]`` over its members ``t``, the cosine of token ``t`` to the mean direction of
cluster ``k`` is ``S[t, k] / sqrt(C[k])``. ``G`` counts in steps of ``1 / GRAM_STEPS``, so ``S`` and ``C`` are exact
integers, whatever the order of summation. Four roundings follow, the same in every implementation: ``C`` to float32,
its square root, ``S`` to float32, and their quotient.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clasp_trt.ops.gram import GRAM_STEPS

ITERATIONS = 5
"""Rounds of assignment and update; the paper's Table 18 finds five best."""

Steps = NDArray[np.float64]  # integers, held in float64 for its fast and here exact matrix product


def spherical_kmeans(
    gram: ArrayLike, pivots: ArrayLike, keep: int, iterations: int = ITERATIONS
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Chooses ``keep`` tokens: the pivots, and one medoid for each of ``keep - len(pivots)`` clusters of the rest.

    ``gram`` is float32 ``[batch, tokens, tokens]`` as :func:`clasp_trt.ops.gram.token_gram` makes it, ``pivots`` bool
    ``[batch, tokens]`` with at most ``keep`` marks a row. Returns ``kept``, int64 ``[batch, min(keep, tokens)]``,
    ascending, and ``is_pivot``, bool of the same shape.

    Seeds are the tokens least similar to any pivot (valid first, then lowest redundancy, then lowest index), and
    cluster ids follow their rank. An empty cluster keeps its previous center; a center of zero length has similarity
    0 to everything. After the last update the last assignment stands. A place that an empty cluster leaves goes to
    the best-ranked seed not yet chosen. Raises :class:`ValueError` when the bounds do not hold.
    """
    steps = np.rint(np.asarray(gram, dtype=np.float64) * GRAM_STEPS)
    marks = np.asarray(pivots, dtype=np.bool_)
    if keep < 1 or iterations < 1:
        raise ValueError(f"keep is {keep} and iterations {iterations}, expected at least 1")
    if steps.shape != (*marks.shape, marks.shape[-1]):
        raise ValueError(f"gram has shape {steps.shape}, expected {(*marks.shape, marks.shape[-1])}")
    if marks.sum(-1).max(initial=0) > keep:
        raise ValueError(f"{int(marks.sum(-1).max())} pivots, expected at most keep = {keep}")
    kept = np.stack([_select(g, p, keep, iterations) for g, p in zip(steps, marks, strict=True)])
    return kept, np.take_along_axis(marks, kept, axis=1)


def _select(gram: Steps, pivots: NDArray[np.bool_], keep: int, iterations: int) -> NDArray[np.int64]:
    tokens = len(pivots)
    if keep >= tokens:
        return np.arange(tokens, dtype=np.int64)
    ranked = seed_order(gram, pivots)
    seeds = ranked[: keep - int(pivots.sum())]
    chosen = pivots.copy()
    if len(seeds):
        chosen[_medoids(gram, ~pivots, seeds, iterations)] = True
    spare = ranked[~chosen[ranked]]
    chosen[spare[: keep - int(chosen.sum())]] = True
    return np.flatnonzero(chosen).astype(np.int64)


def seed_order(gram: Steps, pivots: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The non-pivots of one image, best seed first: valid, then least redundant (Eq. 13), then lowest index."""
    rest = np.flatnonzero(~pivots)
    redundancy = gram[np.ix_(rest, pivots)].max(axis=1) if pivots.any() else np.zeros(len(rest))
    invalid = np.diagonal(gram)[rest] == 0
    return rest[np.lexsort((rest, redundancy, invalid))]


def _medoids(gram: Steps, pool: NDArray[np.bool_], seeds: NDArray[np.int64], iterations: int) -> NDArray[np.int64]:
    """The medoid of every cluster that has members after the last iteration."""
    sums, lengths = gram[:, seeds], np.diagonal(gram)[seeds]
    for _ in range(iterations):
        owner = np.argmax(_cosine(sums, lengths), axis=1)  # ties: lowest cluster id
        members = (owner[:, None] == np.arange(len(seeds))) & pool[:, None]
        filled = members.any(axis=0)
        updated = gram @ members
        sums = np.where(filled, updated, sums)
        lengths = np.where(filled, (updated * members).sum(axis=0), lengths)
    closeness = np.where(members, _cosine(sums, lengths), -np.inf)
    medoids: NDArray[np.int64] = np.argmax(closeness, axis=0)[filled]  # ties: lowest index
    return medoids


def _cosine(sums: Steps, squared_lengths: Steps) -> NDArray[np.float32]:
    """``S / sqrt(C)``, up to a factor common to all clusters; 0 for a center of zero length."""
    length = np.sqrt(np.maximum(squared_lengths, 0).astype(np.float32))
    scores = np.zeros(sums.shape, dtype=np.float32)
    np.divide(sums.astype(np.float32), length, out=scores, where=length > 0)
    return scores
