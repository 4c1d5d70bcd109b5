"""Shares and comparisons with their 95 % intervals.

A share by itself gets Wilson's interval, which takes questions as independent. Two methods that answered the same
questions are compared question by question; the interval is a bootstrap that draws whole pictures, because questions
about one picture are right and wrong together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 4000
"""Draws of the bootstrap: the ends of the interval move by about 3 % of its width from seed to seed."""

_Z = 1.959963984540054  # 97.5 % of the normal distribution
_TAILS = (0.025, 0.975)
_CHUNK = 1 << 22  # indices drawn at once: 32 MB
_SEED = 0  # the same answers give the same interval


class Interval(NamedTuple):
    """Ends of a 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Share:
    """``right`` of ``total``, which is at least 1."""

    right: int
    total: int

    @property
    def value(self) -> float:
        return self.right / self.total

    @property
    def interval(self) -> Interval:
        return wilson(self.right, self.total)


@dataclass(frozen=True)
class Paired:
    """Share of the first minus that of the second, and over it; a ratio to nothing is None.

    Intervals are None where there is one picture alone, whose draws are all the same.
    """

    difference: float
    difference_interval: Interval | None
    ratio: float | None
    ratio_interval: Interval | None


def wilson(right: int, total: int) -> Interval:
    """Score interval of a binomial share (E. B. Wilson, 1927), 95 %; ``total`` is at least 1."""
    if not 0 <= right <= total or total < 1:
        raise ValueError(f"{right} of {total} is no share")
    share, weight = right / total, _Z**2 / total
    centre = (share + weight / 2) / (1 + weight)
    half = _Z / (1 + weight) * math.sqrt(share * (1 - share) / total + weight / (4 * total))
    # at its ends the interval touches 0 and 1 exactly, which rounding may miss
    return Interval(0.0 if right == 0 else centre - half, 1.0 if right == total else centre + half)


def paired(first: NDArray[np.bool_], second: NDArray[np.bool_], pictures: NDArray[np.int64]) -> Paired:
    """Compares two methods on the same questions, by the percentile bootstrap over pictures.

    Args:
        first, second: bool ``[questions]``, whether each answered right.
        pictures: int64 ``[questions]``, equal for questions about the same picture.
    """
    if not len(first) == len(second) == len(pictures) or not len(first):
        raise ValueError("paired answers come in equal numbers, at least one")
    _, picture = np.unique(pictures, return_inverse=True)
    # per picture: right answers of the first and of the second, and questions
    columns = (first, second, np.ones(len(first)))
    sums = np.stack([np.bincount(picture, weights=column) for column in columns], axis=1).astype(np.float64)
    difference, ratio = _compare(sums.sum(axis=0, keepdims=True))
    if len(sums) == 1:
        return Paired(float(difference[0]), None, _finite(ratio[0]), None)
    differences, ratios = _compare(_draws(sums))
    return Paired(
        float(difference[0]), _middle(differences), _finite(ratio[0]),
        _middle(ratios[np.isfinite(ratios)]) if np.isfinite(ratio[0]) else None,
    )  # fmt: skip


def mean(values: NDArray[np.float64], pictures: NDArray[np.int64]) -> tuple[float, Interval | None]:
    """The mean of ``values`` ``[questions]``, and its interval by the bootstrap over their ``pictures``."""
    _, picture = np.unique(pictures, return_inverse=True)
    columns = (values, np.zeros(len(values)), np.ones(len(values)))
    sums = np.stack([np.bincount(picture, weights=column) for column in columns], axis=1).astype(np.float64)
    found = float(sums[:, 0].sum() / sums[:, 2].sum())
    return found, None if len(sums) == 1 else _middle(_compare(_draws(sums))[0])


def _compare(sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Difference and ratio of shares for sums ``[draws, 3]``; a ratio to nothing is not finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (sums[:, 0] - sums[:, 1]) / sums[:, 2], sums[:, 0] / sums[:, 1]


def _draws(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums ``[RESAMPLES, 3]`` over as many pictures as there are, drawn with replacement."""
    rng, pictures = np.random.default_rng(_SEED), len(sums)
    rows = max(1, _CHUNK // pictures)
    parts = []
    for start in range(0, RESAMPLES, rows):
        drawn = rng.integers(pictures, size=(min(rows, RESAMPLES - start), pictures))
        parts.append(np.stack([column[drawn].sum(axis=1) for column in sums.T], axis=1))
    return np.concatenate(parts)


def _middle(values: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(values, _TAILS)
    return Interval(float(low), float(high))


def _finite(value: np.float64) -> float | None:
    return float(value) if np.isfinite(value) else None
