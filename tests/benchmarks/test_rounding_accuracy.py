"""What is told of rounded answers follows from these alone, and the page says it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.rounding_accuracy import FLOATS, SETTINGS, Answers, figures, overlap, page

FOUND = {
    FLOATS: Answers(["a", "b", "c", "d"], [True, True, False, True], [[[0, 1, 2, 3], [1, 2]]] * 4),
    "int8": Answers(
        ["a", "x", "c", "d"], [True, False, False, True], [[[0, 1, 2, 3], [1, 2]]] * 3 + [[[0, 5, 6, 7], [0, 2]]]
    ),
}
PICTURES = np.array([0, 0, 1, 1])


def test_overlap_is_the_share_of_what_floats_keep() -> None:
    np.testing.assert_array_equal(overlap(FOUND["int8"], FOUND[FLOATS]), [[1, 1]] * 3 + [[0.25, 0.5]])


def test_figures() -> None:
    floats, rounded = figures(FOUND, PICTURES)
    assert (floats["right"], floats["accuracy"]) == (3, 0.75)
    assert "difference" not in floats
    assert rounded["difference"] == pytest.approx(-0.25)
    assert rounded["same_answers"][0] == pytest.approx(0.75)
    assert [share for share, _ in rounded["kept"]] == pytest.approx([0.8125, 0.875])
    low, high = rounded["kept"][0][1]
    assert (low, high) == pytest.approx((0.625, 1.0)), "of two pictures one has all of it, the other 5 of 8"


def test_the_page_is_of_its_figures() -> None:
    docs = Path(__file__).parents[2] / "docs"
    told = json.loads((docs / "rounding-accuracy.json").read_text())
    assert [row["name"] for row in told["settings"]] == [each.name for each in SETTINGS]
    assert page(told) == (docs / "rounding-accuracy.md").read_text()
