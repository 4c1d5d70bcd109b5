"""Rows add up: parts to groups, groups and rest to the time to first token, graphs and rest to a step."""

from __future__ import annotations

import numpy as np
import pytest

from clasp_trt.tools.profile.stages import rows
from tests.tools.profile.samples import sample

STAGES = [
    ("route", 1.0), ("tokenize", 2.0), ("preprocess", 3.0), ("vision", 4.0), ("project", 5.0), ("embed", 6.0),
    ("gram", 7.0), ("segment_0", 8.0), ("prune_0", 9.0), ("segment_1", 10.0),
]  # fmt: skip
STEPS = [{"embed": 1.0, "segment_0": 2.0, "segment_1": 3.0}, {"embed": 1.0, "segment_0": 4.0, "segment_1": 3.0}]


@pytest.fixture(scope="module")
def found() -> dict[str, np.ndarray]:
    twice = [(name, 2 * spent) for name, spent in STAGES]
    samples = [sample(STAGES, STEPS, rest=11, step_rest=0.5), sample(twice, STEPS, start=200, rest=11, step_rest=0.5)]
    return {row.name: row.values for row in rows(samples)}


def test_names_in_the_order_of_the_chain(found: dict[str, np.ndarray]) -> None:
    assert list(found) == [
        "route", "route/route", "route/tokenize", "preprocess", "vision", "project",
        "prefill", "prefill/embed", "prefill/segment_0", "prefill/segment_1", "prune", "prune/gram", "prune/prune_0",
        "rest", "ttft", "decode", "decode/embed", "decode/segment_0", "decode/segment_1", "decode/rest",
        "tpot", "answer",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("route", [[3], [6]]),
        ("prefill", [[24], [48]]),
        ("prefill/segment_1", [[10], [20]]),
        ("prune", [[16], [32]]),
        ("rest", [[11], [11]]),
        ("ttft", [[66], [121]]),
        ("decode", [[6.5, 8.5], [6.5, 8.5]]),
        ("decode/segment_0", [[2, 4], [2, 4]]),
        ("decode/rest", [[0.5, 0.5], [0.5, 0.5]]),
        ("tpot", [[7.5], [7.5]]),
        ("answer", [[81], [136]]),
    ],
)
def test_values(found: dict[str, np.ndarray], name: str, expected: list[list[float]]) -> None:
    np.testing.assert_allclose(found[name], expected, rtol=1e-6)


def test_steps_of_one_name_are_one_row() -> None:
    twice = [*STAGES, ("segment_1", 5.0)]
    (row,) = (row for row in rows([sample(twice, STEPS)]) if row.name == "prefill/segment_1")
    np.testing.assert_allclose(row.values, [[15]], rtol=1e-6)
