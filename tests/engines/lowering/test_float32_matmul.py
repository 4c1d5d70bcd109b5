"""Products of float32 matrices, written out for GPUs that have none."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from onnx_ir.passes import PreconditionError

from clasp_trt.engines.lowering.float32_matmul import LowerFloat32MatMul
from tests.engines.lowering.one_node import Run, apply, assert_as_good, graph, on_onnxruntime, on_reference, pair

SHAPES = [((5, 7), (7, 3)), ((2, 5, 7), (2, 7, 3)), ((1, 2, 3, 5, 7), (1, 2, 1, 7, 4)), ((3, 5, 7), (7, 1))]


@pytest.mark.parametrize("run", [on_onnxruntime, on_reference])
@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_the_product(run: Run, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(shape).astype(np.float32) for shape in (left, right)]
    original, lowered = pair("MatMul", inputs, LowerFloat32MatMul())
    exact = inputs[0].astype(np.float64) @ inputs[1].astype(np.float64)
    assert_as_good(run(lowered, inputs), run(original, inputs), exact)


def test_sums_of_whole_numbers_are_the_same_to_the_bit() -> None:
    """As the selection's are, so that it chooses the same tokens."""
    rng = np.random.default_rng(1)
    inputs = [rng.integers(0, 2, (9, 576)).astype(np.float32), rng.integers(-1024, 1025, (576, 40)).astype(np.float32)]
    original, lowered = pair("MatMul", inputs, LowerFloat32MatMul())
    np.testing.assert_array_equal(on_onnxruntime(lowered, inputs), on_onnxruntime(original, inputs))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_other_types_are_left_alone(dtype: type) -> None:
    made = graph("MatMul", [np.ones((2, 3), dtype), np.ones((3, 2), dtype)])
    nodes = list(made)
    assert not apply(LowerFloat32MatMul(), made)
    assert list(made) == nodes


def test_a_vector_is_refused() -> None:
    with pytest.raises(PreconditionError, match=r"multiplies .*, expected ranks from 2"):
        apply(LowerFloat32MatMul(), graph("MatMul", [np.ones((2, 3), np.float32), np.ones(3, np.float32)]))
