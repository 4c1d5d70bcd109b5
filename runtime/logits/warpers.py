"""Settings of sampling alone: which of the ranked tokens a draw may take, as transformers' logits warpers decide it.

Each gets logits that were divided by the temperature, float64 ``[tokens]``, greatest first, and says which of them
stay, bool ``[tokens]``. One stays at least.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clasp_trt.generation import Generation

Ranked = NDArray[np.float64]
Warp = Callable[[Ranked], NDArray[np.bool_]]
_TOP_H_TOKENS = 100


def warpers(generation: Generation) -> list[Warp]:
    """Those that are on, in transformers' order."""
    made: list[Warp] = []
    if generation.top_h is not None:
        made.append(top_h(generation.top_h))
    if generation.top_k:
        made.append(top_k(generation.top_k))
    if generation.top_p < 1:
        made.append(top_p(generation.top_p))
    if generation.min_p:
        made.append(min_p(generation.min_p))
    if generation.typical_p < 1:
        made.append(typical_p(generation.typical_p))
    if generation.epsilon_cutoff:
        made.append(epsilon_cutoff(generation.epsilon_cutoff))
    if generation.eta_cutoff:
        made.append(eta_cutoff(generation.eta_cutoff))
    return made


def most(generation: Generation) -> int | None:
    """How many of the likeliest tokens the first of the warpers looks at, with the equals of the last; None for all."""
    return _TOP_H_TOKENS if generation.top_h is not None else generation.top_k or None


def softmax(ranked: Ranked) -> Ranked:
    """Probabilities of logits."""
    weights = np.exp(ranked - ranked.max())
    shares: Ranked = weights / weights.sum()
    return shares


def log_probability(logits: NDArray[np.float32], token: int) -> float:
    """The natural logarithm of the probability of ``token`` by ``logits`` ``[vocabulary]``, in float64."""
    row = logits.astype(np.float64)
    row -= row.max()
    return float(row[token] - np.log(np.exp(row).sum()))


def likeliest(logits: NDArray[np.float32], count: int) -> tuple[tuple[int, float], ...]:
    """The tokens of greatest probability and :func:`log_probability` of each, the lowest index first among equals."""
    row = logits.astype(np.float64)
    least = np.partition(row, -count)[-count] if count < row.size else -np.inf
    possible = np.flatnonzero(row >= least)
    order = possible[np.argsort(-row[possible], kind="stable")][:count]
    row -= row.max()
    total = np.log(np.exp(row).sum())
    return tuple((int(token), float(row[token] - total)) for token in order)


def top_h(share: float) -> Warp:
    """``TopHLogitsWarper``: the likeliest tokens whose entropy adds up to at most ``share`` of that of the 100
    likeliest."""

    def warp(ranked: Ranked) -> NDArray[np.bool_]:
        terms = _information(softmax(ranked[:_TOP_H_TOKENS]))
        keep, sums = np.zeros(ranked.size, bool), np.cumsum(terms)
        keep[: terms.size] = sums <= share * sums[-1]
        return _first(keep)

    return warp


def top_k(count: int) -> Warp:
    """``TopKLogitsWarper``: the ``count`` likeliest, and their equals at the edge."""
    return lambda ranked: ranked >= ranked[min(count, ranked.size) - 1]


def top_p(mass: float) -> Warp:
    """``TopPLogitsWarper``: the fewest likeliest that together have at least ``mass``."""

    def warp(ranked: Ranked) -> NDArray[np.bool_]:
        shares = softmax(ranked)
        return _first(np.cumsum(shares) - shares < mass)  # the mass before each token

    return warp


def min_p(share: float) -> Warp:
    """``MinPLogitsWarper``: those with at least ``share`` of the probability of the likeliest."""

    def warp(ranked: Ranked) -> NDArray[np.bool_]:
        shares = softmax(ranked)
        keep: NDArray[np.bool_] = shares >= share * shares[0]
        return keep

    return warp


def typical_p(mass: float) -> Warp:
    """``TypicalLogitsWarper``: the fewest that together have at least ``mass``, those first whose information is
    nearest to the mean, and their equals at the edge."""

    def warp(ranked: Ranked) -> NDArray[np.bool_]:
        shares = softmax(ranked)
        surprise = -np.log(np.maximum(shares, np.finfo(float).tiny))
        distance = np.abs(surprise - _information(shares).sum())
        order = np.argsort(distance, kind="stable")
        edge = int(np.count_nonzero(np.cumsum(shares[order]) < mass))
        keep: NDArray[np.bool_] = distance <= distance[order[min(edge, ranked.size - 1)]]
        return keep

    return warp


def epsilon_cutoff(least: float) -> Warp:
    """``EpsilonLogitsWarper``: those of at least the probability ``least``."""
    return lambda ranked: _likely(softmax(ranked), least)


def eta_cutoff(least: float) -> Warp:
    """``EtaLogitsWarper``: the same, but for flat distributions of a lower probability."""

    def warp(ranked: Ranked) -> NDArray[np.bool_]:
        shares = softmax(ranked)
        return _likely(shares, min(least, np.sqrt(least) * np.exp(-_information(shares).sum())))

    return warp


def _likely(shares: Ranked, least: float) -> NDArray[np.bool_]:
    """Those of at least a probability, and the likeliest of all with its equals."""
    keep: NDArray[np.bool_] = shares >= min(least, shares[0])
    return keep


def _first(keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    keep[0] = True
    return keep


def _information(shares: Ranked) -> Ranked:
    """``-p log p`` of each probability; 0 for 0."""
    found: Ranked = -shares * np.log(np.maximum(shares, np.finfo(float).tiny))
    return found
