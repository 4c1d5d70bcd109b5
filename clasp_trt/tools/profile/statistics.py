"""Medians and high percentiles of runs, and whether two bundles differ by more than noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.99
"""Of the intervals. A report compares some ten rows, so one of 95 % would cry wolf in four reports of ten."""

LEAST_ROUNDS = 8
"""Fewer rounds get no interval: all 7 on one side happens by chance in 2 of 2**7 cases, which is more than 1 %."""

RESAMPLES = 2000

_CHUNK = 1 << 21  # values drawn at once: 16 MB
_SEED = 0  # the same runs give the same interval


class Summary(NamedTuple):
    """Median and percentiles, by linear interpolation between the sorted values."""

    median: float
    p90: float
    p99: float


class Interval(NamedTuple):
    """Ends of an interval of level :data:`LEVEL`."""

    low: float
    high: float


@dataclass(frozen=True)
class Ratio:
    """The first median over the second, and its interval, None for fewer than :data:`LEAST_ROUNDS` rounds."""

    value: float
    interval: Interval | None

    @property
    def beyond_noise(self) -> bool | None:
        """Whether the interval leaves 1 out; None where there is no interval."""
        return None if self.interval is None else not self.interval.low <= 1 <= self.interval.high


def summarise(values: NDArray[np.float64]) -> Summary:
    """Of all ``values``, of any shape and at least one."""
    return Summary(*map(float, np.quantile(values, (0.5, 0.9, 0.99))))


def ratio(first: NDArray[np.float64], second: NDArray[np.float64]) -> Ratio | None:
    """Compares the medians of positive values ``[rounds, any]`` that were measured in the same rounds, in turn.

    The interval is a percentile bootstrap that draws whole rounds, the same for both: values of one round are alike,
    and what slows a machine down for some rounds slows both. None if the second median is 0.
    """
    if len(first) != len(second) or not len(first):
        raise ValueError("bundles are compared over the same rounds, at least one")
    below = float(np.median(second))
    if below == 0:
        return None
    value, rounds = float(np.median(first)) / below, len(first)
    if rounds < LEAST_ROUNDS:
        return Ratio(value, None)
    rng = np.random.default_rng(_SEED)
    rows = max(1, _CHUNK // max(first.size, second.size))
    found = []
    for start in range(0, RESAMPLES, rows):
        drawn = rng.integers(rounds, size=(min(rows, RESAMPLES - start), rounds))
        above, under = (np.median(values[drawn].reshape(len(drawn), -1), axis=1) for values in (first, second))
        found.append(above / np.maximum(under, np.finfo(np.float64).tiny))
    low, high = np.quantile(np.concatenate(found), ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Ratio(value, Interval(float(low), float(high)))
