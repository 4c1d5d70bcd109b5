"""Draws with proposed tokens have the distribution of draws without, as Leviathan et al. (2023) have it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.generation import Generation
from clasp_trt.runtime.event import Event
from clasp_trt.runtime.sampling import Sampler
from clasp_trt.runtime.slots import Sequence
from clasp_trt.runtime.steps import Steps

VOCABULARY, GRID, CHAINS = 6, 2000, 3000
SETTINGS = Generation(do_sample=True, temperature=0.9, top_k=5)
LOGITS = np.random.default_rng(4).normal(0, 1.2, (VOCABULARY, VOCABULARY)).astype(np.float32)
"""Those that follow each token."""


def law(last: int) -> NDArray[np.float64]:
    found = np.zeros(VOCABULARY)
    tokens, shares = Sampler(SETTINGS).distribution(LOGITS[last])
    found[tokens] = shares
    return found


class Answer(SimpleNamespace):
    """As much of a draft as a step asks for."""

    def __init__(self, sampler: Sampler) -> None:
        super().__init__(sampler=sampler, asked=SimpleNamespace(logprobs=False, top_logprobs=0), finish_reason=None)
        self.sequence = Sequence(0, 0)

    def say(self, token: int, logprob: float | None) -> Event:
        return Event(token, "")


def step(answer: Any, last: int, proposed: list[int]) -> list[int]:
    """The tokens that a step gives which computes these rows."""
    rows = [last, *proposed]
    found = Steps._verified(SimpleNamespace(), answer, rows, LOGITS[rows])  # type: ignore[arg-type]
    return [event.token for event in found if isinstance(event, Event) and event.token is not None]


class Number:
    """A generator whose next number is known."""

    def __init__(self, number: float) -> None:
        self._number = number

    def random(self) -> float:
        return self._number


def test_a_token_stays_with_its_probability_and_else_another_comes_by_theirs() -> None:
    """Accepted with ``p(x)``; else one of ``p`` without ``x``, renormalised. A draw is by the place of a number among
    the sums of probabilities: over an even grid of numbers the shares are the law, to one part of the grid."""
    exact = law(0)
    for proposed in np.flatnonzero(exact).tolist():
        counts, accepted = np.zeros(VOCABULARY), 0
        for number in (np.arange(GRID) + 0.5) / GRID:
            answer = Answer(Sampler(SETTINGS))
            answer.sampler._generator = Number(number)
            first, *more = step(answer, 0, [proposed])
            counts[first] += 1
            accepted += bool(more)
        assert abs(accepted / GRID - exact[proposed]) <= 1 / GRID
        others, rejected = np.delete(counts, proposed), GRID - accepted
        renormalised = np.delete(exact, proposed) / (1 - exact[proposed])
        np.testing.assert_allclose(others / rejected, renormalised, rtol=0, atol=2 / rejected)


def test_pairs_of_tokens_are_as_likely_as_their_law_says() -> None:
    """Whatever is proposed; by chi-square, of which one run of a thousand would be above what is allowed."""
    rng, counts = np.random.default_rng(0), np.zeros((VOCABULARY, VOCABULARY))
    for seed in range(CHAINS):
        answer, chain = Answer(Sampler(SETTINGS, seed=seed)), [0]
        while len(chain) < 3:
            chain += step(answer, chain[-1], rng.integers(0, VOCABULARY, rng.integers(0, 3)).tolist())
        counts[chain[1], chain[2]] += 1
    expected = CHAINS * law(0)[:, None] * np.stack([law(token) for token in range(VOCABULARY)])
    assert not counts[expected == 0].any()
    cells = expected > 0
    statistic = ((counts - expected)[cells] ** 2 / expected[cells]).sum()
    free = int(cells.sum()) - 1
    allowed = free * (1 - 2 / (9 * free) + 3.09 * (2 / (9 * free)) ** 0.5) ** 3  # Wilson and Hilferty (1931)
    assert statistic < allowed


def test_equal_seeds_draw_equal_tokens_whatever_is_proposed() -> None:
    rng = np.random.default_rng(1)
    for seed in range(50):
        plain, answer, alone, chain = Sampler(SETTINGS, seed=seed), Answer(Sampler(SETTINGS, seed=seed)), [0], [0]
        while len(chain) < 12:
            chain += step(answer, chain[-1], rng.integers(0, VOCABULARY, 3).tolist())
        while len(alone) < len(chain):
            alone.append(plain.next(LOGITS[alone[-1]]))
        assert chain == alone
