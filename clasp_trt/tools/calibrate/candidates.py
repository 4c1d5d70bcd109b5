"""What a search tries for a category: mixtures of vision layers, each with every split ratio of a grid.

A candidate is the whole policy with one row changed. Two candidates that compute the same for every prompt, the same
fusion weights and the same pivot counts, are one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np

from clasp_trt.policy import Category, Policy
from clasp_trt.schedule import Schedule

RATIOS = tuple(Decimal(tenth) / 10 for tenth in range(11))
"""The default grid of split ratios: 0, 0.1, ..., 1."""

_SHARES = (0.9, 0.75, 0.5)  # of the centre, where it is mixed with one other layer
_LEAST = math.exp(-10)  # weight of a layer that is left out, over the largest one's: that of a prior
_DIGITS = 9  # of a score; what rounding does to a weight is far below float32


def mixtures(layers: Sequence[int], centre: int) -> tuple[tuple[float, ...], ...]:
    """The prototypes as weights over ``layers``, each tuple summing to 1.

    Each layer alone; ``centre``, one of ``layers``, with 0.9, 0.75 and 0.5 of the weight and one other layer with the
    rest; all layers alike.
    """
    alone = [{layer: 1.0} for layer in layers]
    pairs = [{centre: share, other: 1 - share} for other in layers if other != centre for share in _SHARES]
    even = {layer: 1 / len(layers) for layer in layers}
    return tuple(tuple(weights.get(layer, 0.0) for layer in layers) for weights in (*alone, *pairs, even))


def scores(weights: Sequence[float], tau: float) -> tuple[float, ...]:
    """The row of ``W`` whose ``softmax(tau * row)`` is ``weights``; its largest score is 1.

    Softmax gives no layer nothing: a weight of 0 becomes e^-10 of the largest, as in a prior.
    """
    largest = max(weights)
    return tuple(round(1 + math.log(max(weight / largest, _LEAST)) / tau, _DIGITS) for weight in weights)


def candidates(
    policy: Policy, category: int, *, centre: int, keeps: Sequence[int], ratios: Sequence[Decimal] = RATIOS
) -> tuple[Policy, ...]:
    """The candidates for row ``category`` of ``policy``, the closest to it first: the first is ``policy`` itself.

    Every mixture of :func:`mixtures`, and the row's own, with every one of ``ratios``, and the row's own. Close means
    little change of fusion weights (their L1 distance), then of the ratio. Of those that are the same wherever a
    stage keeps one of ``keeps`` tokens, the closest stays. Raises :class:`clasp_trt.errors.PolicyError` for a ratio
    that no policy has.
    """
    row, weights = policy.categories[category], policy.alpha(category).astype(np.float64)
    rows = [row.scores, *(scores(mixture, policy.tau) for mixture in mixtures(policy.layers, centre))]
    offered = [changed(policy, category, Category(row.name, w, a)) for w in rows for a in (row.ratio, *ratios)]

    def distance(candidate: Policy) -> tuple[float, Decimal, Decimal]:
        moved = float(np.abs(candidate.alpha(category) - weights).sum())
        ratio = candidate.categories[category].ratio
        return round(moved, 6), abs(ratio - row.ratio), ratio  # rounded: the last bits may differ between machines

    distinct: dict[object, Policy] = {}
    for candidate in sorted(offered, key=distance):
        same = (candidate.alpha(category).tobytes(), candidate.pivot_counts(category, keeps))
        distinct.setdefault(same, candidate)
    return tuple(distinct.values())


def kept(schedule: Schedule, *, varies: bool) -> Sequence[int]:
    """How many tokens stages keep: where that of a request ``varies``, any number up to the schedule's."""
    return range(1, max(schedule.keeps, default=0) + 1) if varies else schedule.keeps


def changed(policy: Policy, category: int, row: Category) -> Policy:
    """``policy`` with ``row`` in the place of row ``category``."""
    rows = (*policy.categories[:category], row, *policy.categories[category + 1 :])
    return replace(policy, categories=rows)


def describe(policy: Policy, category: int) -> str:
    """A row in words: its weights of half a percent and more, and its split ratio."""
    weights = zip(policy.layers, policy.alpha(category).tolist(), strict=True)
    mixture = " + ".join(f"{weight:.2f} x {layer}" for layer, weight in weights if weight >= 0.005)
    return f"layers {mixture}, ratio {policy.categories[category].ratio}"
