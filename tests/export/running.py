"""Graphs under test, run from memory on ONNX Runtime after every check that an exported file passes."""

from __future__ import annotations

from typing import Any

import onnx
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray


class Runnable:
    """A model in an inference session: ``runnable(name=array, ...)`` returns its outputs by name."""

    def __init__(self, model: ir.Model | onnx.ModelProto) -> None:
        proto = model if isinstance(model, onnx.ModelProto) else ir.to_proto(model)
        onnx.checker.check_model(proto, full_check=True)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self.inputs = [port.name for port in self.session.get_inputs()]
        self.outputs = [port.name for port in self.session.get_outputs()]

    def __call__(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return dict(zip(self.outputs, self.session.run(None, inputs), strict=True))
