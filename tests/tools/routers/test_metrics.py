"""Calibration and the threshold, on figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from clasp_trt.tools.routers import metrics
from clasp_trt.tools.routers.linear import softmax
from clasp_trt.tools.routers.metrics import Costs


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    right = np.array([0, 1, 0, 1])
    # confidence 0.9 twice with one right: gap 0.8; confidence 0.6 twice, both right: gap 0.8; of four prompts
    assert metrics.calibration_error(probabilities, right) == pytest.approx((0.8 + 0.8) / 4)


def test_the_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(4000, 3)).astype(np.float32) * 2
    right = np.array([rng.choice(3, p=row) for row in softmax(honest)])
    assert metrics.fit_temperature(honest * 4, right) == pytest.approx(4, rel=0.1)
    assert metrics.fit_temperature(honest, right) == pytest.approx(1, rel=0.1)


def test_decisions_below_the_threshold_are_default() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.45, 0.4, 0.15], [0.1, 0.2, 0.7]])
    assert metrics.decide(probabilities, 0.5).tolist() == [0, 2, 2]
    assert metrics.decide(probabilities, 0.0).tolist() == [0, 0, 2]


def test_cost_by_hand() -> None:
    decided, right = np.array([0, 1, 2, 0]), np.array([0, 0, 0, 2])
    assert metrics.cost(decided, right, Costs(1.0, 3.0), 2) == pytest.approx((0 + 3 + 1 + 3) / 4)


@pytest.mark.parametrize("default", [0.2, 0.5, 0.8])
def test_the_best_threshold_of_honest_probabilities_is_the_bound(default: float) -> None:
    """With no prompt of Default, naming pays from ``p = 1 - default / wrong`` on."""
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 40_000) if default < 0.5 else rng.uniform(0, 1, 40_000)
    probabilities = np.stack([confidence, 1 - confidence, np.zeros_like(confidence)], axis=1)
    probabilities = np.where(confidence[:, None] >= 0.5, probabilities, probabilities / 2)
    right = np.where(rng.uniform(size=len(confidence)) < probabilities.max(axis=1), probabilities.argmax(axis=1), 3)
    found = metrics.best_threshold(np.pad(probabilities, ((0, 0), (0, 2))), right, Costs(default, 1.0))
    assert found == pytest.approx(1 - default, abs=0.06)


def test_table_by_category() -> None:
    table = metrics.by_category(np.array([0, 1, 2, 2]), np.array([0, 0, 0, 2]), ("a", "b", "default"))
    assert table == {
        "a": {"prompts": 3, "right": 0.3333, "default": 0.3333, "wrong": 0.3333},
        "default": {"prompts": 1, "right": 1.0, "default": 0.0, "wrong": 0.0},
    }


def test_table_by_kind() -> None:
    probabilities = np.array([[0.95, 0.03, 0.02], [0.3, 0.6, 0.1], [0.45, 0.4, 0.15]])
    decided = metrics.decide(probabilities, 0.5)
    table = metrics.by_kind(probabilities, decided, np.array([1, 1, 0]), ("hard", "hard", "easy"))
    assert list(table) == ["hard", "easy"]
    assert table["hard"] == {
        "prompts": 2,
        "right": 0.5,
        "default": 0.0,
        "likeliest_right": 0.5,
        "confidence": 0.775,
        "calibration_error": pytest.approx((0.95 + 0.4) / 2),
        "sure_and_wrong": 0.5,
    }
    assert (table["easy"]["right"], table["easy"]["default"], table["easy"]["likeliest_right"]) == (0.0, 1.0, 1.0)
