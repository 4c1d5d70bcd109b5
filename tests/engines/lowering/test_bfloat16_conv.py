"""Convolution of bfloat16: legal at opset 20 only between conversions."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from clasp_trt.engines.lowering.bfloat16_conv import LowerBfloat16Conv
from tests.engines.lowering.one_node import Array, apply, graph, on_onnxruntime, on_reference, proto


def _inputs(dtype: Any) -> list[Array]:
    """Two images, four filters of 3 x 3 and their biases, rounded to bfloat16 whatever the type."""
    rng = np.random.default_rng(0)
    shapes = [(2, 3, 9, 9), (4, 3, 3, 3), (4,)]
    return [rng.standard_normal(shape).astype(ml_dtypes.bfloat16).astype(dtype) for shape in shapes]


def test_the_result_is_the_float32_convolution_rounded_once() -> None:
    wide, narrow = _inputs(np.float32), _inputs(ml_dtypes.bfloat16)
    attributes = {"strides": [3, 3]}
    exact = on_onnxruntime(proto(graph("Conv", wide, attributes)), wide)
    made = graph("Conv", narrow, attributes)
    assert apply(LowerBfloat16Conv(), made)
    lowered = on_reference(proto(made, 20), narrow)
    assert lowered.dtype == ml_dtypes.bfloat16
    half_step = float(ml_dtypes.finfo(ml_dtypes.bfloat16).eps) / 2
    # beside the rounding, the two sums of 27 products may differ in float32
    np.testing.assert_allclose(lowered.astype(np.float32), exact, rtol=half_step, atol=1e-5)


def test_opset_20_refuses_what_the_pass_is_for() -> None:
    with pytest.raises(onnx.shape_inference.InferenceError, match="Conv"):
        proto(graph("Conv", _inputs(ml_dtypes.bfloat16)), 20)


def test_a_missing_bias_stays_missing() -> None:
    made = graph("Conv", _inputs(ml_dtypes.bfloat16)[:2])
    assert apply(LowerBfloat16Conv(), made)
    proto(made, 20)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_other_types_are_left_alone(dtype: Any) -> None:
    made = graph("Conv", _inputs(dtype))
    nodes = list(made)
    assert not apply(LowerBfloat16Conv(), made)
    assert list(made) == nodes


def test_lowered_convolutions_are_not_lowered_again() -> None:
    made = graph("Conv", _inputs(ml_dtypes.bfloat16))
    assert apply(LowerBfloat16Conv(), made)
    conv = next(node for node in made if node.op_type == "Conv")
    assert all(value is not None and value.dtype != ir.DataType.BFLOAT16 for value in conv.inputs)
    assert not apply(LowerBfloat16Conv(), made)
