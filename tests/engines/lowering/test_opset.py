"""What a lowered model declares is what it is made of."""

from __future__ import annotations

from itertools import pairwise

import onnx
import onnx_ir as ir
import pytest
from onnx_ir.passes import PassResult, PostconditionError, PreconditionError

from clasp_trt.engines.lowering.opset import ONLY_EXTENDED, DeclareOpset

OPSETS = (20, 21, 22, 23, 24)


def _schema(op_type: str, opset: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(op_type, opset, "")
    except onnx.defs.SchemaError:
        return None


@pytest.mark.parametrize("op_type", sorted(ONLY_EXTENDED))
def test_newer_versions_only_add(op_type: str) -> None:
    """Inputs, outputs, types and attributes of each version are there in the next one, new ones being optional."""
    schemas = [schema for schema in (_schema(op_type, opset) for opset in OPSETS) if schema is not None]
    for older, newer in pairwise(schemas):
        for before, after in ((older.inputs, newer.inputs), (older.outputs, newer.outputs)):
            assert [p.name for p in after][: len(before)] == [p.name for p in before]
            assert all(p.option == onnx.defs.OpSchema.FormalParameterOption.Optional for p in after[len(before) :])
        for name, attribute in older.attributes.items():
            assert newer.attributes[name].default_value == attribute.default_value
        assert not any(newer.attributes[name].required for name in set(newer.attributes) - set(older.attributes))
        allowed = [{c.type_param_str: set(c.allowed_type_strs) for c in s.type_constraints} for s in (older, newer)]
        assert all(types <= allowed[1][name] for name, types in allowed[0].items())


def _model(op_type: str, opset: int = 24, domain: str = "") -> ir.Model:
    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=(2, 4))
    node = ir.node(op_type, [x], domain=domain)
    node.outputs[0].name = "y"
    graph = ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": opset}, name="one")
    return ir.Model(graph, ir_version=11)


@pytest.mark.parametrize("op_type", ["RMSNormalization", "Swish", "Attention"])
def test_an_operator_that_is_younger_is_refused(op_type: str) -> None:
    model = _model(op_type)
    with pytest.raises(PreconditionError, match=f"{op_type}.*of opset 24.*22"):
        DeclareOpset(22)(model)
    assert model.graph.opset_imports[""] == 24, "left as it was"


def test_an_operator_that_changed_its_meaning_is_refused() -> None:
    with pytest.raises(PreconditionError, match="opset 20"):
        DeclareOpset(20)(_model("GridSample"))


def test_operators_of_other_domains_are_not_ours_to_judge() -> None:
    DeclareOpset(20)(_model("Swish", domain="elsewhere"))


@pytest.mark.parametrize(("opset", "ir_version"), [(24, 11), (23, 11), (22, 10), (21, 10), (20, 9)])
def test_the_ir_version_is_that_of_the_opset_and_never_newer_than_it_was(opset: int, ir_version: int) -> None:
    model = _model("Cast")
    modified = DeclareOpset(opset)(model).modified
    assert (model.graph.opset_imports[""], model.ir_version) == (opset, ir_version)
    assert modified == (opset != 24)


def test_a_model_that_is_older_is_refused() -> None:
    with pytest.raises(PreconditionError, match=r"of opset 20.*22"):
        DeclareOpset(22)(_model("Cast", opset=20))


def test_a_declaration_that_was_not_made_is_caught() -> None:
    class Forgetful(DeclareOpset):
        def call(self, model: ir.Model) -> PassResult:
            return PassResult(model, modified=False)

    with pytest.raises(PostconditionError, match=r"opsets \[24\].*20 alone"):
        Forgetful(20)(_model("Cast"))
