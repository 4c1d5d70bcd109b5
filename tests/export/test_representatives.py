"""The tokens that stand for a request, against the definition."""

from __future__ import annotations

import numpy as np
import pytest

from clasp_trt.export.representatives import densities, representatives, unit
from tests import sparse


def request(tokens: int, seed: int, spread: float) -> tuple[sparse.Rows, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Tokens around three directions, a third of them visual, and attention to them."""
    rng = np.random.default_rng(seed)
    outputs = rng.standard_normal((3, 8))[rng.integers(0, 3, tokens)] + spread * rng.standard_normal((tokens, 8))
    visual = np.arange(tokens) % 3 == 1
    return outputs, visual, rng.dirichlet(np.ones(tokens))


@pytest.mark.parametrize(
    ("tokens", "spread"), [(1, 1.0), (2, 1.0), (3, 1.0), (5, 1.0), (24, 0.1), (24, 1.0), (40, 0.3), (40, 3.0)]
)
@pytest.mark.parametrize("seed", range(3))
def test_they_are_those_of_the_definition(tokens: int, spread: float, seed: int) -> None:
    outputs, visual, attention = request(tokens, seed, spread)
    found = representatives(outputs, visual, attention)
    assert found.tolist() == sparse.taken(outputs, visual.tolist(), attention.tolist())
    rows = unit(outputs)
    np.testing.assert_allclose(densities(rows @ rows.T, visual), sparse.three(outputs, visual.tolist()), atol=1e-12)


@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_some_are_enough(spread: float) -> None:
    assert 1 < len(representatives(*request(200, 0, spread))) < 100


@pytest.mark.parametrize("outputs", [np.zeros((6, 4)), np.ones((6, 4)), np.eye(6)], ids=["zeros", "alike", "apart"])
def test_tokens_without_a_direction_and_tokens_that_are_alike(outputs: sparse.Rows) -> None:
    found = representatives(outputs, np.arange(6) < 3, np.full(6, 1 / 6))
    assert found[0] == 0, "of equal scores the lowest index"
    assert len({*found.tolist()}) == len(found)


def test_a_request_of_text_alone() -> None:
    outputs, _, attention = request(12, 0, 1.0)
    nothing = np.zeros(12, bool)
    assert representatives(outputs, nothing, attention).tolist() == sparse.taken(
        outputs, nothing.tolist(), attention.tolist()
    )
