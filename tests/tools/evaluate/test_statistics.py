"""Intervals against published values, and what must hold for all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_trt.tools.evaluate.statistics import Share, paired, wilson


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [  # R. G. Newcombe, Statistics in Medicine 17 (1998), Table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_published(right: int, total: int, low: float, high: float) -> None:
    assert wilson(right, total) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_wilson_holds_the_share_and_mirrors(counts: tuple[int, int]) -> None:
    right, total = counts
    low, high = wilson(right, total)
    assert 0 <= low <= right / total <= high <= 1
    assert wilson(total - right, total) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("right", "total"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_share(right: int, total: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson(right, total)


def test_share() -> None:
    assert Share(3, 4).value == 0.75
    assert Share(3, 4).interval == wilson(3, 4)


def answers(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random(count) < 0.7, rng.random(count) < 0.6


def test_one_question_a_picture_agrees_with_the_normal_interval() -> None:
    first, second = answers(3, 2000)
    found = paired(first, second, np.arange(2000))
    gaps = first.astype(float) - second
    half = 1.96 * gaps.std() / np.sqrt(2000)
    assert found.difference == pytest.approx(gaps.mean())
    assert found.difference_interval == pytest.approx((gaps.mean() - half, gaps.mean() + half), abs=0.08 * half)
    assert found.ratio == pytest.approx(first.sum() / second.sum())


def test_saying_everything_thrice_about_a_picture_narrows_nothing() -> None:
    first, second = answers(5, 300)
    once = paired(first, second, np.arange(300))
    thrice = paired(np.repeat(first, 3), np.repeat(second, 3), np.repeat(np.arange(300), 3))
    assert thrice.difference_interval == pytest.approx(once.difference_interval)
    assert thrice.ratio_interval == pytest.approx(once.ratio_interval)


def test_the_same_answers_differ_by_nothing() -> None:
    right, _ = answers(1, 50)
    same = paired(right, right, np.arange(50) // 5)
    assert (same.difference, same.difference_interval) == (0, (0, 0))
    assert (same.ratio, same.ratio_interval) == (1, (1, 1))


def test_a_ratio_to_nothing_is_none() -> None:
    found = paired(np.array([True, False]), np.array([False, False]), np.arange(2))
    assert (found.ratio, found.ratio_interval) == (None, None)
    assert found.difference == 0.5


def test_one_picture_has_no_interval() -> None:
    found = paired(np.array([True, True]), np.array([True, False]), np.array([4, 4]))
    assert (found.difference, found.difference_interval) == (0.5, None)
    assert (found.ratio, found.ratio_interval) == (2, None)


def test_intervals_are_a_function_of_the_answers() -> None:
    first, second = answers(2, 40)
    assert paired(first, second, np.arange(40)) == paired(first, second, np.arange(40))


def test_answers_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="equal numbers"):
        paired(np.ones(2, bool), np.ones(3, bool), np.arange(3))
