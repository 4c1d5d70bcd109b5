"""Boxes of several pictures."""

from __future__ import annotations

import numpy as np

from clasp_trt.runtime.media.seen import Block, boxes_of, side_by_side
from tests.prompts import boxes


def test_pictures_stand_side_by_side() -> None:
    """The second is of two blocks over the same pixels; a token without a place moves nothing."""
    newline = np.full((1, 4), np.nan, np.float32)
    first = (Block(4, (1, 2, 2), boxes(2, 5)), Block(1, (1, 1, 1), newline))
    second = (Block(1, (1, 1, 1), boxes(1, 6)), Block(4, (1, 2, 2), boxes(2, 3)))
    found = side_by_side([first, second, first])
    shifts = np.repeat([0, 10, 16], [5, 5, 5])[:, None] * np.array([1, 0, 1, 0])
    expected = np.concatenate([boxes_of(each) for each in (first, second, first)]) + shifts
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(side_by_side([first]), boxes_of(first))
    assert side_by_side([]).shape == (0, 4)
