"""The model as an ONNX graph: gather the rows of the features, weigh, sum, softmax."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.tools.routers.linear import Linear

OPSET, IR_VERSION = 17, 8  # old enough for every ONNX Runtime that this package supports

_DOCUMENTATION = """The learned router.
ids int64 [n]: buckets of the prompt's features.
weights float32 [n]: their weights.
probabilities float32 [categories]: calibrated.
evidence float32 [n, categories]: what each feature adds to each category's score."""


def graph(model: Linear, temperature: float) -> bytes:
    """The bytes of the ONNX file; ``model.scores`` are kept as float16."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    buckets, count = model.scores.shape
    nodes = [
        helper.make_node("Gather", ["scores", "ids"], ["rows_half"], axis=0),
        helper.make_node("Cast", ["rows_half"], ["rows"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["weights", "one"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["evidence"]),
        helper.make_node("ReduceSum", ["evidence", "zero"], ["sum"], keepdims=0),
        helper.make_node("Add", ["sum", "bias"], ["logits"]),
        helper.make_node("Div", ["logits", "temperature"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["probabilities"], axis=-1),
    ]
    constants: dict[str, NDArray[Any]] = {
        "scores": model.scores.astype(np.float16),
        "bias": model.bias,
        "temperature": np.array(temperature, np.float32),
        "one": np.array([1], np.int64),
        "zero": np.array([0], np.int64),
    }
    made = helper.make_model(
        helper.make_graph(
            nodes,
            "router",
            [
                helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"]),
                helper.make_tensor_value_info("weights", TensorProto.FLOAT, ["n"]),
            ],
            [
                helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [count]),
                helper.make_tensor_value_info("evidence", TensorProto.FLOAT, ["n", count]),
            ],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
            doc_string=_DOCUMENTATION,
        ),
        producer_name="clasp-trt",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(made, {"categories": str(count), "buckets": str(buckets)})
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString(deterministic=True))
