"""Operators as one-node graphs, before and after a pass, run by ONNX Runtime or by ONNX's own reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from clasp_trt.engines.lowering.rewriting import Lowering
from tests.export.running import Runnable

Array = NDArray[Any]
Run = Callable[[onnx.ModelProto, Sequence[Array]], Array]

DTYPES = {
    np.dtype("float16"): ir.DataType.FLOAT16,
    np.dtype("float32"): ir.DataType.FLOAT,
    np.dtype(ml_dtypes.bfloat16): ir.DataType.BFLOAT16,
    np.dtype("int64"): ir.DataType.INT64,
}


def graph(op_type: str, arrays: Sequence[Array | None], attributes: Mapping[str, Any] | None = None) -> ir.Graph:
    """One node of ``op_type``, at opset 24, on inputs ``i0``, ``i1``, ... like ``arrays``; its output is ``y``."""
    inputs = [
        None if a is None else ir.val(f"i{n}", dtype=DTYPES[a.dtype], shape=a.shape) for n, a in enumerate(arrays)
    ]
    node = ir.node(op_type, inputs, dict(attributes or {}))
    first = inputs[0]
    assert first is not None
    node.outputs[0].name, node.outputs[0].dtype, node.outputs[0].shape = (
        "y",
        first.dtype,
        ir.Shape([None] * len(first.shape or ())),
    )
    given = [value for value in inputs if value is not None]
    return ir.Graph(given, node.outputs, nodes=[node], opset_imports={"": 24}, name="one")


def proto(made: ir.Graph, opset: int = 24) -> onnx.ModelProto:
    """The graph as a checked model of ``opset``."""
    made.opset_imports[""] = opset
    model = ir.to_proto(ir.Model(made, ir_version=9 if opset == 20 else 11))
    onnx.checker.check_model(model, full_check=True)
    return model


def apply(lower: Lowering, made: ir.Graph) -> bool:
    """Runs a pass on a graph in place; whether it was modified."""
    return lower(ir.Model(made, ir_version=11)).modified


def pair(
    op_type: str, arrays: Sequence[Array], lower: Lowering, attributes: Mapping[str, Any] | None = None
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The operator as it is at opset 24, and what ``lower`` makes of it at opset 20."""
    lowered = graph(op_type, arrays, attributes)
    assert apply(lower, lowered)
    assert op_type not in {node.op_type for node in lowered}
    return proto(graph(op_type, arrays, attributes)), proto(lowered, 20)


def on_onnxruntime(model: onnx.ModelProto, arrays: Sequence[Array]) -> Array:
    """The output on ONNX Runtime, which computes some float16 operators in float32; it takes no bfloat16."""
    return Runnable(model)(**{f"i{n}": a for n, a in enumerate(arrays)})["y"]


def on_reference(model: onnx.ModelProto, arrays: Sequence[Array]) -> Array:
    """The output of ONNX's reference, which rounds after every node as a device does that fuses nothing."""
    return ReferenceEvaluator(model).run(None, {f"i{n}": a for n, a in enumerate(arrays)})[0]


PRECISIONS = [
    (np.float32, on_onnxruntime),
    (np.float16, on_onnxruntime),
    (np.float32, on_reference),
    (np.float16, on_reference),
    (ml_dtypes.bfloat16, on_reference),
]


def assert_as_good(lowered: Array, original: Array, exact: NDArray[np.float64], factor: float = 4.0) -> None:
    """``lowered`` is off by at most ``factor`` times what ``original`` is, plus the rounding of the largest value.

    The original computes in the same precision, so its own error against float64 says what that precision can do.
    """
    assert lowered.dtype == original.dtype
    rounding = float(ml_dtypes.finfo(original.dtype).eps) / 2 * np.abs(exact).max()
    baseline = np.abs(original.astype(np.float64) - exact).max()
    np.testing.assert_allclose(lowered.astype(np.float64), exact, rtol=0, atol=factor * (baseline + rounding))
