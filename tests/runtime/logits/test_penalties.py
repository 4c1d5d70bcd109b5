"""Penalties on what an answer has, by their definition, and the likeliest tokens by sorting all."""

from __future__ import annotations

import numpy as np

from clasp_trt.runtime.logits.processors import answer_penalty
from clasp_trt.runtime.logits.warpers import likeliest, log_probability


def test_a_penalty_counts_the_answer_alone() -> None:
    prompt, answer = [1, 1, 2], [3, 4, 3, 3]
    logits = np.arange(6, dtype=np.float32)
    found = answer_penalty(0.5, 0.25, len(prompt))(np.array(prompt + answer), logits.copy())
    expected = logits.copy()
    expected[3] -= 0.5 + 3 * 0.25
    expected[4] -= 0.5 + 0.25
    np.testing.assert_array_equal(found, expected)


def test_a_penalty_of_nothing_said_and_of_visual_tokens() -> None:
    """Whose ids may lie beyond the logits."""
    logits = np.ones(3, np.float32)
    np.testing.assert_array_equal(answer_penalty(2, 2, 2)(np.array([0, 9]), logits.copy()), logits)
    np.testing.assert_array_equal(answer_penalty(2, 2, 0)(np.array([9]), logits.copy()), logits)


def test_the_likeliest_are_the_first_of_all() -> None:
    rng = np.random.default_rng(3)
    logits = rng.integers(0, 9, 40).astype(np.float32)  # with many equals
    for count in (1, 5, 20, 40, 50):
        found = likeliest(logits, count)
        assert [token for token, _ in found] == np.argsort(-logits, kind="stable")[:count].tolist()
        np.testing.assert_allclose(
            [each for _, each in found], [log_probability(logits, token) for token, _ in found], rtol=1e-12
        )
