"""Percentiles, and ratios that cry wolf no more often than they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clasp_trt.tools.profile.statistics import LEAST_ROUNDS, ratio, summarise

times = arrays(np.float64, st.tuples(st.integers(LEAST_ROUNDS, 12), st.just(2)), elements=st.floats(0.01, 1e4))


def noisy(rng: np.random.Generator, rounds: int = 20, *, spread: float = 0.05) -> np.ndarray:
    return np.exp(rng.normal(0, spread, (rounds, 1)))


def test_percentiles() -> None:
    found = summarise(np.arange(101.0).reshape(-1, 1))
    assert tuple(found) == (50, 90, 99)
    assert tuple(summarise(np.array([[7.0]]))) == (7, 7, 7)


def test_equal_bundles_seldom_differ() -> None:
    rng = np.random.default_rng(1)
    alarms = [ratio(noisy(rng), noisy(rng)).beyond_noise for _ in range(300)]
    assert sum(alarms) <= 9, "3 % where 1 % is meant: medians of 20 are coarse"


def test_a_difference_above_noise_is_seen() -> None:
    rng = np.random.default_rng(2)
    found = [ratio(1.1 * noisy(rng), noisy(rng)) for _ in range(100)]
    assert sum(bool(each.beyond_noise) for each in found) >= 95
    assert np.mean([each.value for each in found]) == pytest.approx(1.1, abs=0.01)


def test_drift_that_slows_both_is_no_difference_and_hides_none() -> None:
    """The machine becomes three times slower under way: rounds are drawn as wholes."""
    rng = np.random.default_rng(3)
    drift = np.linspace(1, 3, 20)[:, None]
    same = [ratio(drift * noisy(rng, spread=0.01), drift * noisy(rng, spread=0.01)) for _ in range(50)]
    assert sum(bool(each.beyond_noise) for each in same) <= 3
    slower = [ratio(1.2 * drift * noisy(rng, spread=0.01), drift * noisy(rng, spread=0.01)) for _ in range(50)]
    assert all(each.beyond_noise for each in slower)


@settings(deadline=None, max_examples=25)
@given(times)
def test_a_bundle_against_itself(values: np.ndarray) -> None:
    found = ratio(values, values)
    assert found is not None
    assert (found.value, found.interval, found.beyond_noise) == (1, (1, 1), False)


@settings(deadline=None, max_examples=25)
@given(times, st.floats(0.1, 10))
def test_the_unit_does_not_matter(values: np.ndarray, scale: float) -> None:
    first, second = ratio(values, values[::-1]), ratio(scale * values, scale * values[::-1])
    assert first is not None
    assert second is not None
    assert second.value == pytest.approx(first.value)
    assert second.interval == pytest.approx(first.interval)


def test_few_rounds_cannot_tell() -> None:
    values = np.linspace(1, 2, LEAST_ROUNDS)[:, None]
    assert ratio(values, 5 * values).beyond_noise is True
    few = ratio(values[1:], 5 * values[1:])
    assert (few.value, few.interval, few.beyond_noise) == (pytest.approx(0.2), None, None)


def test_chunks_draw_the_same_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (noisy(np.random.default_rng(seed)) for seed in (1, 2))
    whole = ratio(first, second)
    monkeypatch.setattr("clasp_trt.tools.profile.statistics._CHUNK", 1000)
    assert ratio(first, second) == whole


def test_nothing_to_compare_with() -> None:
    assert ratio(np.ones((9, 1)), np.zeros((9, 1))) is None
    with pytest.raises(ValueError, match="same rounds"):
        ratio(np.ones((9, 1)), np.ones((8, 1)))
