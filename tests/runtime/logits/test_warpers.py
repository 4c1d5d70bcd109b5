"""Every setting of sampling keeps the tokens that transformers keeps, up to and at its edge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clasp_trt.generation import Generation
from clasp_trt.runtime.logits import warpers
from clasp_trt.runtime.sampling import Sampler


def kept(logits: Any, **settings: Any) -> list[int]:
    tokens, _ = Sampler(Generation(do_sample=True, **settings)).distribution(np.asarray(logits, np.float32))
    return sorted(tokens.tolist())


WARPERS: dict[str, tuple[str, dict[str, Any]]] = {
    "top_h": ("TopHLogitsWarper", {"top_h": 0.4}),
    "top_h of all": ("TopHLogitsWarper", {"top_h": 0.95}),
    "top_k": ("TopKLogitsWarper", {"top_k": 7}),
    "top_k beyond the vocabulary": ("TopKLogitsWarper", {"top_k": 1000}),
    "top_p": ("TopPLogitsWarper", {"top_p": 0.7}),
    "top_p of none": ("TopPLogitsWarper", {"top_p": 0.0}),
    "min_p": ("MinPLogitsWarper", {"min_p": 0.1}),
    "min_p of the likeliest": ("MinPLogitsWarper", {"min_p": 1.0}),
    "typical_p": ("TypicalLogitsWarper", {"mass": 0.6}),
    "typical_p of little": ("TypicalLogitsWarper", {"mass": 0.02}),
    "epsilon_cutoff": ("EpsilonLogitsWarper", {"epsilon": 0.02}),
    "epsilon_cutoff above all": ("EpsilonLogitsWarper", {"epsilon": 0.99}),
    "eta_cutoff": ("EtaLogitsWarper", {"epsilon": 0.02}),
    "eta_cutoff that follows the entropy": ("EtaLogitsWarper", {"epsilon": 0.6}),
}


@pytest.mark.parametrize("name", WARPERS)
def test_the_kept_tokens_are_those_of_transformers(name: str) -> None:
    import torch
    from transformers.generation import logits_process

    kind, values = WARPERS[name]
    theirs = getattr(logits_process, kind)(**values)
    ours = {name.split()[0]: next(iter(values.values()))}
    rng = np.random.default_rng(11)
    for spread in (0.1, 1.0, 3.0):
        for _ in range(10):
            logits = rng.normal(0, spread, 150).astype(np.float32)
            logits[rng.integers(150, size=20)] = -np.inf
            scores = theirs(torch.zeros(1, 1, dtype=torch.long), torch.from_numpy(logits)[None])[0].numpy()
            assert kept(logits, **ours) == np.flatnonzero(scores > -np.inf).tolist()


def test_all_of_them_apply_one_after_another() -> None:
    """In transformers' order, each to what the one before left: the order is that of ``_get_logits_processor``."""
    import torch
    from transformers.generation import logits_process as theirs

    rng = np.random.default_rng(3)
    settings = {"temperature": 1.7, "top_k": 40, "top_p": 0.9, "min_p": 0.02, "typical_p": 0.8, "epsilon_cutoff": 0.02}
    chain = (
        theirs.TemperatureLogitsWarper(1.7),
        theirs.TopKLogitsWarper(40),
        theirs.TopPLogitsWarper(0.9),
        theirs.MinPLogitsWarper(0.02),
        theirs.TypicalLogitsWarper(0.8),
        theirs.EpsilonLogitsWarper(0.02),
    )
    for _ in range(20):
        logits = rng.normal(0, 2, 150).astype(np.float32)
        scores = torch.from_numpy(logits)[None]
        for warp in chain:
            scores = warp(torch.zeros(1, 1, dtype=torch.long), scores)
        assert kept(logits, **settings) == np.flatnonzero(scores[0].numpy() > -np.inf).tolist()
        probabilities = Sampler(Generation(do_sample=True, **settings)).distribution(logits)[1]
        expected = np.sort(scores.softmax(-1)[0].numpy())[::-1][: len(probabilities)]
        np.testing.assert_allclose(probabilities, expected, rtol=1e-5)  # of float32


# --- edges: in powers of two, so that equality is no matter of rounding ---------------------------------------

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
