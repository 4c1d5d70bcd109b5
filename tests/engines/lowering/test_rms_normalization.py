"""RMS normalisation written out: float32 inside, whatever the type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx_ir.passes import PreconditionError

from clasp_trt.engines.lowering.rms_normalization import LowerRMSNormalization
from tests.engines.lowering.one_node import (
    PRECISIONS,
    Array,
    Run,
    apply,
    assert_as_good,
    graph,
    on_onnxruntime,
    on_reference,
    pair,
)

EPSILON = 1e-5


def _inputs(shape: tuple[int, ...], dtype: Any, spread: float = 1.0, scaled: int = 1) -> list[Array]:
    """An input of standard deviation ``spread`` and a scale for its last ``scaled`` dimensions."""
    rng = np.random.default_rng(0)
    return [
        (rng.standard_normal(shape) * spread).astype(dtype),
        rng.standard_normal(shape[-scaled:]).astype(dtype),
    ]


def _exact(x: Array, scale: Array, epsilon: float = EPSILON) -> NDArray[np.float64]:
    wide = x.astype(np.float64)
    mean = (wide**2).mean(axis=tuple(range(-scale.ndim, 0)), keepdims=True)
    exact: NDArray[np.float64] = wide / np.sqrt(mean + epsilon) * scale.astype(np.float64)
    return exact


@pytest.mark.parametrize(("dtype", "run"), PRECISIONS)
@pytest.mark.parametrize("spread", [0.01, 10.0])
def test_as_good_as_the_operator(dtype: Any, run: Run, spread: float) -> None:
    arrays = _inputs((1, 7, 128), dtype, spread)
    original, lowered = pair("RMSNormalization", arrays, LowerRMSNormalization(), {"epsilon": EPSILON})
    assert_as_good(run(lowered, arrays), run(original, arrays), _exact(*arrays))


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.integers(1, 9), min_size=2, max_size=4).map(tuple),
    scaled=st.integers(1, 2),
    epsilon=st.sampled_from([1e-6, 1e-5, 0.5]),
)
def test_every_shape(shape: tuple[int, ...], scaled: int, epsilon: float) -> None:
    arrays = _inputs(shape, np.float32, scaled=scaled)
    attributes = {"axis": -scaled, "epsilon": epsilon}
    _, lowered = pair("RMSNormalization", arrays, LowerRMSNormalization(), attributes)
    exact = _exact(*arrays, epsilon)
    bound = (arrays[1].size + 6) * np.finfo(np.float32).eps * np.abs(exact).max()  # a mean, and a few roundings
    np.testing.assert_allclose(on_onnxruntime(lowered, arrays), exact, rtol=0, atol=bound)


@pytest.mark.parametrize("run", [on_onnxruntime, on_reference])
def test_squares_do_not_overflow_float16(run: Run) -> None:
    arrays = [np.array([[6e4, -6e4, 3e4, 100.0]], np.float16), np.ones(4, np.float16)]
    _, lowered = pair("RMSNormalization", arrays, LowerRMSNormalization())
    exact = _exact(*arrays)
    assert_as_good(run(lowered, arrays), exact.astype(np.float16), exact)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [({"axis": 1}, "axis from the start"), ({"stash_type": 10}, "does not compute in float32")],
)
def test_forms_that_the_pass_does_not_know(attributes: dict[str, int], reason: str) -> None:
    made = graph("RMSNormalization", _inputs((2, 8), np.float16), attributes)
    with pytest.raises(PreconditionError, match=reason):
        apply(LowerRMSNormalization(), made)
    assert [node.op_type for node in made] == ["RMSNormalization"], "left as it was"
