"""Calls of our operators become plugin nodes that carry all they need, and other backends see no difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from clasp_trt.chain import Prune
from clasp_trt.engines.lowering import lower_file
from clasp_trt.engines.tensorrt.plugin_nodes import bind_plugins
from clasp_trt.export.pruning.prune import gram_graph, prune_graph
from clasp_trt.ops import select, token_gram
from clasp_trt.plugins.program import OPERATORS, read
from tests.export.running import Runnable
from tests.plugins.programs import assemble, program, varying_program

TOKENS, KEEP, WIDTH = 16, 4, 8


@pytest.fixture
def portable(tmp_path: Path) -> Path:
    path = tmp_path / "prune_0.onnx"
    ir.save(prune_graph(Prune("prune_0", 0, TOKENS, KEEP, last=False), WIDTH, "float32"), path)
    return path


def _inputs() -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    rng = np.random.default_rng(7)
    x = rng.standard_normal((1, TOKENS, WIDTH))
    saliency = rng.random((1, TOKENS), dtype=np.float32)
    count = np.array([2])
    inputs: dict[str, NDArray[Any]] = {
        "hidden": rng.standard_normal((1, TOKENS + 3, WIDTH)).astype(np.float32),
        "position_ids": np.arange(TOKENS + 3)[None],
        "saliency": saliency,
        "gram": token_gram(x),
        "pivot_count": count,
        "visual_index": np.arange(TOKENS),
        "reference_index": np.arange(TOKENS, TOKENS + 3),
    }
    return inputs, select(saliency, x, count, KEEP)[0]


def _varying(path: Path) -> None:
    """The same stage for any number of tokens."""
    stage = Prune("prune_0", 0, TOKENS, KEEP, last=False, varies=True)
    ir.save(prune_graph(stage, WIDTH, "float32"), path)


@pytest.mark.parametrize(("opset", "varies"), [(20, False), (24, False), (24, True)])
def test_each_call_carries_its_program_and_no_function_is_left(portable: Path, opset: int, varies: bool) -> None:
    if varies:
        _varying(portable)
    lower_file(portable, opset, inline=True, keep=OPERATORS)
    assert bind_plugins(portable, assemble) == tuple(sorted(OPERATORS))
    model = onnx.load(portable)
    onnx.checker.check_model(model, full_check=True)
    assert not model.functions
    calls = {node.op_type: node for node in model.graph.node if node.domain == "clasp"}
    assert set(calls) == set(OPERATORS)
    for operator, node in calls.items():
        values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        assert (values.pop("plugin_namespace"), values.pop("plugin_version")) == (b"clasp", b"1")
        fields = {
            name: onnx.numpy_helper.to_array(value)
            if isinstance(value, onnx.TensorProto)
            else np.atleast_1d(np.array(value, np.int32))
            for name, value in values.items()
        }
        assert read(operator, fields) == (
            varying_program(operator) if varies else program(operator, KEEP, tokens=TOKENS)
        )


def test_a_graph_without_our_operators_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "gram.onnx"
    ir.save(gram_graph(TOKENS, WIDTH, "float32"), path)
    before = path.read_bytes()
    assert bind_plugins(path, assemble) == ()
    assert path.read_bytes() == before


def test_an_input_of_unknown_size_is_our_mistake(portable: Path) -> None:
    model = onnx.load(portable)
    (saliency,) = (port for port in model.graph.input if port.name == "saliency")
    saliency.type.tensor_type.shape.dim[1].dim_param = "tokens"
    onnx.save(model, portable)
    with pytest.raises(ValueError, match=r"ClaspPivotSelect"):
        bind_plugins(portable, assemble)


def test_onnx_runtime_takes_no_notice_of_the_namespace(portable: Path) -> None:
    model, inputs = onnx.load(portable), _inputs()[0]
    assert any(attribute.name == "plugin_namespace" for node in model.graph.node for attribute in node.attribute)
    named = Runnable(model)(**inputs)
    for node in model.graph.node:
        for name in ("plugin_namespace", "plugin_version"):
            for attribute in [each for each in node.attribute if each.name == name]:
                node.attribute.remove(attribute)
    plain = Runnable(model)(**inputs)
    assert all(np.array_equal(named[name], plain[name]) for name in plain)
    np.testing.assert_array_equal(named["kept"], _inputs()[1])


def test_a_plugin_graph_does_not_run_as_functions(portable: Path) -> None:
    """Where the plugin is missing, a graph made for plugins must be refused, not answered by something else."""
    bind_plugins(portable, assemble)
    with pytest.raises(Exception, match="ClaspPivotSelect"):
        Runnable(onnx.load(portable))
