"""Models without functions: nothing for a plugin to answer to, and the same result."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_ir.passes import PostconditionError, PreconditionError

from clasp_trt.engines.lowering.inline_functions import InlineFunctions
from tests.export.running import Runnable


def _model() -> ir.Model:
    """``outer(x) = inner(x) + x`` called twice in a row, ``inner(x) = 2 x``, and one function that nothing calls."""
    return ir.from_proto(
        onnx.parser.parse_model(
            """
            <ir_version: 10, opset_import: ["": 24, "clasp": 1]>
            main (float[3] x) => (float[3] y) {
                once = clasp.outer <plugin_namespace = "clasp", plugin_version = "1"> (x)
                y = clasp.outer <plugin_namespace = "clasp", plugin_version = "1"> (once)
            }
            <domain: "clasp", opset_import: ["": 24, "clasp": 1]>
            outer (x) => (y) { twice = clasp.inner (x)  y = Add (twice, x) }
            <domain: "clasp", opset_import: ["": 24]>
            inner (x) => (y) { y = Add (x, x) }
            <domain: "clasp", opset_import: ["": 24]>
            idle (x) => (y) { y = Neg (x) }
            """
        )
    )


def test_calls_are_replaced_by_bodies_all_the_way_down() -> None:
    model, x = _model(), np.array([1.0, -2.0, 0.5], np.float32)
    before = Runnable(_model())(x=x)["y"]
    assert InlineFunctions()(model).modified
    assert not model.functions
    assert model.graph.opset_imports == {"": 24}
    assert [(node.domain, node.op_type) for node in model.graph] == [("", "Add")] * 4
    assert not any(name.startswith("plugin_") for node in model.graph for name in node.attributes)
    np.testing.assert_array_equal(Runnable(model)(x=x)["y"], before)
    np.testing.assert_array_equal(before, 9 * x)


def test_a_model_without_functions_does_not_change() -> None:
    model = _model()
    assert InlineFunctions()(model).modified
    nodes = list(model.graph)
    assert not InlineFunctions()(model).modified
    assert list(model.graph) == nodes


def test_functions_to_keep_stay_with_their_calls_and_what_names_a_plugin() -> None:
    model, x = _model(), np.array([1.0, -2.0, 0.5], np.float32)
    before = Runnable(_model())(x=x)["y"]
    assert InlineFunctions(keep=["outer"])(model).modified
    assert [function.name for function in model.functions.values()] == ["outer"]
    assert [node.op_type for node in model.graph] == ["outer", "outer"]
    assert all(node.attributes.get_string("plugin_namespace") == "clasp" for node in model.graph)
    np.testing.assert_array_equal(Runnable(model)(x=x)["y"], before)
    assert not InlineFunctions(keep=["outer"])(model).modified, "nothing is left to do"


def test_a_function_of_another_opset_is_refused() -> None:
    model = _model()
    function = next(iter(model.functions.values()))
    function.opset_imports[""] = 23
    with pytest.raises(PreconditionError, match=f"function {function.name}.*23,.*24"):
        InlineFunctions()(model)
    assert len(model.functions) == 3, "left as it was"


def test_a_result_that_is_not_plugin_free_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "clasp_trt.engines.lowering.inline_functions.InlinePass", lambda criteria: lambda model: None
    )  # and so the functions go, but not their calls
    with pytest.raises(PostconditionError, match=r"clasp\.outer.*is left"):
        InlineFunctions()(_model())
