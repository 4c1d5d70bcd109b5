"""The comparison of two arrays: Polygraphy's own figure, by nothing that a later Polygraphy drops."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

pytest.importorskip("polygraphy")

from clasp_trt.tools.verify.runners import FunctionRunner, largest_difference, run

FLOATS = arrays.arrays(np.float32, (3, 4), elements=st.floats(-1024, 1024, width=32, allow_subnormal=False))


@given(FLOATS, FLOATS)
def test_the_difference_is_the_largest_one(expected: NDArray[np.float32], found: NDArray[np.float32]) -> None:
    assert largest_difference(expected, found) == pytest.approx(np.abs(expected - found).max(), rel=1e-6)


def test_what_is_not_finite_or_of_another_shape_has_no_difference() -> None:
    one = np.ones((1, 2), np.float32)
    for other in (one[0], np.array([[1, np.nan]], np.float32), np.array([[1, np.inf]], np.float32)):
        assert math.isnan(largest_difference(one, other))
        assert math.isnan(largest_difference(other, one))


def test_choices_are_compared_as_numbers() -> None:
    assert largest_difference(np.array([True, False]), np.array([True, True])) == 1
    assert largest_difference(np.zeros((0,), np.int64), np.zeros((0,), np.int64)) == 0


def test_nothing_is_used_that_polygraphy_will_drop() -> None:
    from polygraphy.common import TensorMetadata

    inputs = TensorMetadata().add("x", np.float32, (2,))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        (found,) = run([FunctionRunner("double", inputs, lambda feed: {"y": 2 * feed["x"]})], {"x": np.ones(2, "f4")})
        assert largest_difference(found["y"], np.full(2, 2.0, np.float32)) == 0
