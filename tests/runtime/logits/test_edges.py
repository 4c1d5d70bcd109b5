"""What a setting does exactly at its edge, by hand: in powers of two, so that equality is no matter of rounding."""

from __future__ import annotations

import numpy as np
import pytest

from clasp_trt.generation import Generation
from clasp_trt.runtime.logits import processors, warpers
from clasp_trt.runtime.sampling import Sampler

RANKED = np.log(np.array([8.0, 4.0, 2.0, 2.0]) / 8)
"""Logits of the probabilities 1/2, 1/4, 1/8 and 1/8."""


def left(warp: warpers.Warp, ranked: warpers.Ranked = RANKED) -> list[int]:
    return np.flatnonzero(warp(ranked)).tolist()


def test_the_probabilities_at_the_edges_are_exact() -> None:
    assert warpers.softmax(RANKED).tolist() == [1 / 2, 1 / 4, 1 / 8, 1 / 8]


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 4)])
def test_top_k_keeps_its_count_and_the_equals_of_the_last(count: int, expected: int) -> None:
    assert left(warpers.top_k(count)) == list(range(expected))


@pytest.mark.parametrize(
    ("mass", "expected"), [(0.5, 1), (0.51, 2), (0.75, 2), (0.76, 3), (0.875, 3), (0.876, 4), (1, 4)]
)
def test_top_p_keeps_the_fewest_with_at_least_its_mass(mass: float, expected: int) -> None:
    assert left(warpers.top_p(mass)) == list(range(expected))


@pytest.mark.parametrize(("share", "expected"), [(0.25, 4), (0.251, 2), (0.5, 2), (0.501, 1), (1, 1)])
def test_min_p_keeps_what_has_exactly_its_share(share: float, expected: int) -> None:
    assert left(warpers.min_p(share)) == list(range(expected))


@pytest.mark.parametrize(
    ("mass", "expected"), [(0.25, [1]), (0.251, [0, 1]), (0.75, [0, 1]), (0.751, [0, 1, 2, 3]), (0.999, [0, 1, 2, 3])]
)
def test_typical_p_keeps_the_nearest_to_the_mean_with_at_least_its_mass(mass: float, expected: list[int]) -> None:
    """They say 1, 2, 3 and 3 bits, 1.75 in the mean."""
    assert left(warpers.typical_p(mass)) == expected


@pytest.mark.parametrize(("least", "expected"), [(0.125, 4), (0.126, 2), (0.25, 2), (0.251, 1), (0.6, 1)])
def test_epsilon_keeps_what_has_exactly_its_probability_and_the_likeliest(least: float, expected: int) -> None:
    assert left(warpers.epsilon_cutoff(least)) == list(range(expected))


def test_epsilon_keeps_all_that_are_likeliest() -> None:
    assert left(warpers.epsilon_cutoff(0.9), np.zeros(3)) == [0, 1, 2]


@pytest.mark.parametrize(("least", "expected"), [(0.06, 4), (0.176, 4), (0.177, 2), (0.707, 2), (0.708, 1)])
def test_eta_lowers_its_probability_where_much_is_open(least: float, expected: int) -> None:
    """To the root of ``least`` times 2 to the power of -1.75, the entropy in bits: 1/8 for 0.1768, 1/4 for 0.7071."""
    assert left(warpers.eta_cutoff(least)) == list(range(expected))


@pytest.mark.parametrize(("least", "expected"), [(1 / 32, 2), (0.032, 1)])
def test_eta_is_epsilon_where_little_is_open(least: float, expected: int) -> None:
    assert left(warpers.eta_cutoff(least), np.log(np.array([31.0, 1.0]) / 32)) == list(range(expected))


SHARES_OF_ENTROPY = [(0.28, 1), (0.29, 1), (0.57, 1), (0.58, 2), (0.78, 2), (0.79, 3), (1, 4)]


@pytest.mark.parametrize(("share", "expected"), SHARES_OF_ENTROPY)
def test_top_h_keeps_what_adds_up_to_at_most_its_share_of_the_entropy(share: float, expected: int) -> None:
    """Of 1.75 bits they have 0.5, 0.5, 0.375 and 0.375."""
    assert left(warpers.top_h(share)) == list(range(expected))


def test_top_h_looks_at_the_hundred_likeliest() -> None:
    assert len(left(warpers.top_h(1.0), np.zeros(130))) == 100


@pytest.mark.parametrize(("temperature", "weights"), [(1.0, [8, 4, 2, 2]), (0.5, [64, 16, 4, 4])])
def test_the_temperature_divides_logits(temperature: float, weights: list[float]) -> None:
    sampler = Sampler(Generation(do_sample=True, temperature=temperature))
    expected = np.array(weights) / sum(weights)
    np.testing.assert_allclose(sampler.distribution(RANKED.astype(np.float32))[1], expected, rtol=1e-6)


# --- what holds without sampling too --------------------------------------------------------------------------


def after(process: processors.Process, ids: list[int], logits: list[float]) -> list[float]:
    found: list[float] = process(np.array(ids), np.array(logits, np.float32)).tolist()
    return found


NEVER = -np.inf


def test_a_repetition_penalty_pulls_what_was_there_down() -> None:
    assert after(processors.repetition_penalty(2.0), [0, 1, 0, 9], [4, -4, 4]) == [2, -8, 4]
    among = processors.repetition_penalty(2.0, among=np.array([2]))
    assert after(among, [0, 1], [4, -4, 4]) == [4, -4, 2]


@pytest.mark.parametrize(
    ("size", "expected"), [(1, [NEVER, NEVER, NEVER, 0]), (2, [0, NEVER, NEVER, 0]), (3, [0, 0, NEVER, 0])]
)
def test_a_sequence_does_not_occur_again(size: int, expected: list[float]) -> None:
    """After 0 came 1 and 2, and after 1, 0 came 2."""
    assert after(processors.no_repeat_ngram(size), [0, 1, 0, 2, 1, 0], [0] * 4) == expected


@pytest.mark.parametrize(("before", "expected"), [(2, [0, NEVER]), (3, [0, 0]), (4, [0, 0])])
def test_a_stop_token_comes_with_the_least_length(before: int, expected: list[float]) -> None:
    assert after(processors.min_length(3, [1]), [0] * before, [0, 0]) == expected


@pytest.mark.parametrize(("before", "expected"), [(2, [5, 6]), (3, [NEVER, 0]), (4, [5, 6])])
def test_a_token_is_forced_in_its_place_alone(before: int, expected: list[float]) -> None:
    assert after(processors.forced([1], at=3), [0] * before, [5, 6]) == expected


@pytest.mark.parametrize(("before", "expected"), [(3, [8, -8, NEVER]), (4, [8, 0, NEVER]), (5, [8, 16, NEVER])])
def test_stop_tokens_rise_from_a_length_on(before: int, expected: list[float]) -> None:
    """By their magnitude times 2 - 1 after one token, times 4 - 1 after two; what is forbidden stays so."""
    assert after(processors.length_penalty(3, 2.0, [1, 2]), [0] * before, [8, -8, NEVER]) == expected


@pytest.mark.parametrize(("at", "expected"), [(None, [1, NEVER]), (3, [1, NEVER]), (2, [1, 2])])
def test_tokens_are_suppressed_everywhere_or_in_one_place(at: int | None, expected: list[float]) -> None:
    assert after(processors.suppress([1, 7], at=at), [0] * 3, [1, 2]) == expected


def test_a_bias_is_for_the_end_of_a_sequence() -> None:
    process = processors.sequence_bias({(0,): 1.0, (1, 2, 1): 2.0, (2, 2): 4.0, (5, 5, 5, 1, 2, 0): 8.0})
    assert after(process, [1, 2], [0, 0, 0]) == [1, 2, 4]
    assert after(process, [2], [0, 0, 0]) == [1, 0, 4]
