"""What the builder refuses, or silently gets wrong, is found before it sees the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from clasp_trt.engines.tensorrt.limits import check
from clasp_trt.errors import BackendError
from clasp_trt.targets import MAX_TOPK


def _model(
    op_type: str, inputs: list[str], outputs: list[str], constants: dict[str, Any], **attributes: Any
) -> onnx.ModelProto:
    node = helper.make_node(op_type, inputs, outputs, name="it", **attributes)
    held = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    return helper.make_model(helper.make_graph([node], "g", [], [], held))


def _topk(size: int) -> onnx.ModelProto:
    return _model("TopK", ["x", "k"], ["values", "indices"], {"k": [size]})


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (_topk(MAX_TOPK + 1), "it takes the 3841 largest, more than 3840"),
        (_model("NonZero", ["x"], ["y"], {}), "an output whose size depends on the data"),
        (_model("ScatterND", ["x", "i", "u"], ["y"], {}, reduction="add"), "a scatter with a reduction"),
        (_model("Resize", ["x", "", "s"], ["y"], {}, antialias=1), "an antialiased resize"),
        (_model("Attention", ["q", "k", "v", "", "pk", "pv"], ["y"], {}), "keeps its own cache"),
        (_model("Attention", ["q", "k", "v"], ["y", "present"], {}), "has a second output"),
        (_model("Attention", ["q", "k", "v", "", "", "", "n"], ["y"], {}), "with key lengths"),
        (_model("Attention", ["q", "k", "v", "m"], ["y"], {}, is_causal=1), "causal and has a mask too"),
        (_model("Attention", ["q", "k", "v"], ["y"], {}, softcap=30.0), "a soft cap"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused(model: onnx.ModelProto, problem: str) -> None:
    with pytest.raises(BackendError, match=rf"^graph g: \w+ it: .*{problem}.*use --backend onnxruntime$"):
        check(model, "g")


@pytest.mark.parametrize(
    "model",
    [
        _topk(MAX_TOPK),
        _model("TopK", ["x", "computed"], ["values", "indices"], {}),
        _model("ScatterND", ["x", "i", "u"], ["y"], {}),
        _model("Attention", ["q", "k", "v", "m"], ["y"], {}, scale=0.5),
        _model("Attention", ["q", "k", "v"], ["y"], {}, is_causal=1),
    ],
)
def test_taken(model: onnx.ModelProto) -> None:
    check(model, "g")
