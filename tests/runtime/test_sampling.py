"""Draws follow the exact distribution; what is out of range is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clasp_trt.errors import BackendError, PromptError
from clasp_trt.generation import Generation
from clasp_trt.runtime.logits import processors
from clasp_trt.runtime.sampling import GREEDY, Sampler, Sampling
from tests.mistakes import says

LOGITS = np.array([1.0, 3.0, -2.0, 3.0, 0.5, -np.inf, 2.0, 0.0], np.float32)


def drawing(seed: int | None = None, **settings: Any) -> Sampler:
    """A sampler that draws, with these settings and plain ones otherwise."""
    return Sampler(Generation(do_sample=True, **settings), seed=seed)


def exact(sampling: Generation) -> np.ndarray[Any, Any]:
    """The distribution over LOGITS, written the slow way."""
    weights = {i: float(np.exp(x / sampling.temperature)) for i, x in enumerate(LOGITS.astype(float))}
    ranked = sorted(weights, key=lambda i: (-weights[i], i))
    if sampling.top_k:
        edge = weights[ranked[sampling.top_k - 1]]
        ranked = [i for i in ranked if weights[i] >= edge]
    total = sum(weights[i] for i in ranked)
    kept, mass = [], 0.0
    for i in ranked:
        if mass < sampling.top_p:
            kept.append(i)
            mass += weights[i] / total
    result = np.zeros(len(LOGITS))
    for i in kept:
        result[i] = weights[i] / sum(weights[j] for j in kept)
    return result


def test_greedy_takes_the_lowest_of_equals() -> None:
    sampler = Sampler()
    assert [sampler.next(LOGITS) for _ in range(3)] == [1, 1, 1]
    assert Sampler(Generation(temperature=9.0, top_k=5, top_p=0.1), seed=1).next(LOGITS) == 1
    assert sampler.next(np.zeros(4, np.float32)) == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"top_k": 1},
        {"top_k": 3},
        {"temperature": 1.5, "top_p": 0.6, "top_k": 4},
        *(
            pytest.param(each, marks=pytest.mark.full)
            for each in (
                {},
                {"temperature": 0.5},
                {"temperature": 3.0},
                {"top_k": 7},
                {"top_p": 0.9},
                {"temperature": 2.0, "top_p": 0.5},
                {"top_p": 1e-9},
            )
        ),
    ],
)
def test_draws_follow_the_exact_distribution(settings: dict[str, Any]) -> None:
    draws = 4_000
    sampler = drawing(seed=len(settings), **settings)
    counts = np.bincount([sampler.next(LOGITS) for _ in range(draws)], minlength=len(LOGITS))
    expected = exact(sampler.generation)
    assert np.all(counts[expected == 0] == 0)
    # Each count is binomial: 5 standard deviations are one false alarm in two million; the seeds are fixed.
    assert np.all(np.abs(counts - draws * expected) <= 5 * np.sqrt(draws * expected * (1 - expected)) + 1e-9)
    tokens, probabilities = sampler.distribution(LOGITS)
    np.testing.assert_allclose(probabilities, expected[tokens], rtol=1e-12)
    assert probabilities.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("equals", "top_p", "kept"), [(2, 0.5, 1), (4, 0.5, 2), (4, 0.75, 3)])
def test_a_mass_of_exactly_top_p_is_enough(equals: int, top_p: float, kept: int) -> None:
    """In binary fractions, so that equality is no matter of rounding."""
    tokens, probabilities = drawing(top_p=top_p).distribution(np.zeros(equals, np.float32))
    assert tokens.tolist() == list(range(kept))
    assert probabilities.tolist() == [1 / kept] * kept


@pytest.mark.parametrize("draws", [False, True])
@pytest.mark.parametrize(
    "process", [processors.repetition_penalty(1e-300), processors.sequence_bias({(0,): 1e300})], ids=["penalty", "bias"]
)
def test_a_setting_that_overflows_is_the_settings_mistake(process: processors.Process, draws: bool) -> None:
    sampler = Sampler(
        Generation(do_sample=draws, repetition_penalty=1e-300), prompt=np.array([0]), processors=[process]
    )
    with pytest.raises(PromptError) as error:
        sampler.next(LOGITS)
    says(error, "repetition_penalty", "inf")


def test_a_seed_fixes_the_draws() -> None:
    def draws(seed: int | None) -> list[int]:
        sampler = drawing(seed, temperature=2.0)
        return [sampler.next(LOGITS) for _ in range(50)]

    assert draws(7) == draws(7) != draws(8)
    assert draws(None) != draws(None)


def test_a_tiny_temperature_is_greedy_among_equals() -> None:
    sampler = drawing(0, temperature=1e-300)
    assert {sampler.next(LOGITS) for _ in range(100)} == {1, 3}


@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=40),
    st.floats(1e-6, 100),
    st.floats(1e-6, 1),
)
@settings(max_examples=200, deadline=None)
def test_any_finite_row_gives_a_legal_token(row: list[float], temperature: float, top_p: float) -> None:
    sampler = drawing(0, temperature=temperature, top_p=top_p, top_k=3)
    assert 0 <= sampler.next(np.array(row, np.float32)) < len(row)


@pytest.mark.parametrize("draws", [False, True])
@pytest.mark.parametrize("row", [[1.0, np.nan, 2.0], [np.nan] * 3, [np.inf, 0.0], [-np.inf, -np.inf], [], [[1.0, 2.0]]])
def test_broken_logits_are_reported(row: list[Any], draws: bool) -> None:
    with pytest.raises(BackendError, match="decoder returned"):
        Sampler(Generation(do_sample=draws), seed=0).next(np.array(row, np.float32))


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": True},
        {"temperature": "1"},
        {"top_p": 0},
        {"top_p": 1.1},
        {"min_p": 1.1},
        {"typical_p": 0},
        {"repetition_penalty": 0},
        {"no_repeat_ngram_size": -1},
        {"min_new_tokens": 2.0},
        {"top_k": -1},
        {"top_k": 1.5},
        {"top_k": True},
        {"seed": -1},
        {"seed": 0.5},
    ],
)
def test_values_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(PromptError, match=next(iter(fields))):
        Sampling(**fields)


# --- a request over a bundle --------------------------------------------------------------------------------


def test_a_request_overrides_what_it_names_and_nothing_else() -> None:
    bundle = Generation(do_sample=True, temperature=0.7, top_k=20, repetition_penalty=1.1)
    assert Sampling().over(bundle) == Sampling(seed=3).over(bundle) == bundle
    assert Sampling(top_k=5).over(bundle) == replace(bundle, top_k=5)
    assert Sampling(repetition_penalty=1.0).over(bundle) == replace(bundle, repetition_penalty=1.0)
    assert GREEDY.over(bundle) == replace(bundle, do_sample=False)
    greedy = Generation(top_p=0.9, no_repeat_ngram_size=3)
    assert Sampling(temperature=0.5).over(greedy) == replace(greedy, do_sample=True, temperature=0.5)


@pytest.mark.parametrize("name", ["top_p", "top_k", "min_p", "typical_p"])
def test_a_setting_of_sampling_does_not_vanish_in_a_greedy_answer(name: str) -> None:
    with pytest.raises(PromptError) as error:
        Sampling(**{name: 1}).over(Generation())  # type: ignore[arg-type]
    says(error, name, "greedy", "temperature")
    Sampling(temperature=0, **{name: 1}).over(Generation())  # type: ignore[arg-type]  # said to be greedy
