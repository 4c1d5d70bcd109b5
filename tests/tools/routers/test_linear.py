"""The model learns what can be learned, and the same every time."""

from __future__ import annotations

import numpy as np
import pytest

from clasp_trt.runtime.routing.features import features
from clasp_trt.tools.routers.bags import Bags
from clasp_trt.tools.routers.linear import Linear, Training, fit, softmax

PROMPTS = ["how many dogs", "count the cats", "what color is it", "is it red", "how many cars", "what color is he"]
RIGHT = np.array([0, 0, 1, 1, 0, 1])
BAGS = Bags.of(PROMPTS, 512)


def fitted(seed: int = 0) -> Linear:
    return fit(BAGS, RIGHT, buckets=512, count=2, seed=seed, training=Training(epochs=20, batch=2))


def test_bags_hold_what_features_gives() -> None:
    found = features(PROMPTS[2], 512)
    start, stop = BAGS.starts[2:4]
    assert np.array_equal(BAGS.ids[start:stop], found.ids)
    assert np.array_equal(BAGS.weights[start:stop], found.weights)
    taken = BAGS.take(np.array([4, 2]))
    assert len(taken) == 2
    assert np.array_equal(taken.ids[taken.starts[1] :], found.ids)


def test_it_learns() -> None:
    assert np.array_equal(fitted().logits(BAGS).argmax(axis=1), RIGHT)
    assert fitted().logits(Bags.of(["how many trees"], 512)).argmax() == 0


def test_equal_seeds_give_equal_bits() -> None:
    assert np.array_equal(fitted().scores, fitted().scores)
    assert not np.array_equal(fitted().scores, fitted(1).scores)


def test_the_gradient_is_that_of_the_loss() -> None:
    """One step of one batch without dropout moves the bias as the softmax's derivative says."""
    training = Training(epochs=1, batch=len(PROMPTS), rate=1.0, dropout=0.0, smoothing=0.0)
    model = fit(BAGS, np.array([0, 0, 0, 0, 1, 1]), buckets=512, count=2, seed=0, training=training)
    slope = np.array([0.5 - 4 / 6, 0.5 - 2 / 6], dtype=np.float32)  # mean of probability minus target
    assert model.bias == pytest.approx(-slope / np.sqrt(1 + slope**2))


def test_it_converges_to_the_smoothed_labels() -> None:
    training = Training(epochs=200, batch=len(PROMPTS), rate=0.3, dropout=0.0, smoothing=0.5)
    model = fit(BAGS, RIGHT, buckets=512, count=2, seed=0, training=training)
    assert softmax(model.logits(BAGS)).max(axis=1) == pytest.approx([0.75] * len(PROMPTS), abs=0.02)


def test_rounding_is_float16() -> None:
    model = fitted()
    assert np.array_equal(model.rounded().scores, model.scores.astype(np.float16).astype(np.float32))


def test_softmax_with_a_temperature() -> None:
    logits = np.array([[0.0, 1.0, 2.0], [1000.0, 0.0, 0.0]], dtype=np.float32)
    cold, warm = softmax(logits, 0.5), softmax(logits, 2.0)
    assert cold.sum(axis=1) == pytest.approx([1, 1])
    assert cold[0, 2] > warm[0, 2] > 1 / 3
    assert np.isfinite(cold).all()
