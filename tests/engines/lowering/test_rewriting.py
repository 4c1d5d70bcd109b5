"""The form of a pass: what it asks for and what it promises is checked, in every scope."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx_ir as ir
import pytest
from onnx_ir.passes import InPlacePass, PostconditionError, PreconditionError
from onnx_ir.tape import Tape

from clasp_trt.engines.lowering.attention import LowerAttention
from clasp_trt.engines.lowering.bfloat16_conv import LowerBfloat16Conv
from clasp_trt.engines.lowering.float32_matmul import LowerFloat32MatMul
from clasp_trt.engines.lowering.rewriting import Lowering, Scope, expect, replace
from clasp_trt.engines.lowering.rms_normalization import LowerRMSNormalization
from clasp_trt.engines.lowering.rotary_embedding import LowerRotaryEmbedding
from clasp_trt.engines.lowering.tensor_scatter import LowerTensorScatter

EVERY = (
    LowerAttention, LowerBfloat16Conv, LowerFloat32MatMul, LowerRMSNormalization, LowerRotaryEmbedding,
    LowerTensorScatter,
)  # fmt: skip


class Negate(Lowering):
    """``Abs`` as ``Neg`` of a float32."""

    op_type = "Abs"

    def check(self, node: ir.Node) -> None:
        expect(node.inputs[0] is not None and node.inputs[0].dtype == ir.DataType.FLOAT, node, "is not of float32")

    def rewrite(self, scope: Scope, nodes: Sequence[ir.Node]) -> None:
        for node in nodes:
            tape = Tape()
            replace(scope, node, tape, tape.op("Neg", node.inputs))


class Lazy(Negate):
    """Leaves all but the first."""

    def rewrite(self, scope: Scope, nodes: Sequence[ir.Node]) -> None:
        super().rewrite(scope, nodes[:1])


class Careless(Negate):
    """Takes a node away, and not from those who read it."""

    def rewrite(self, scope: Scope, nodes: Sequence[ir.Node]) -> None:
        scope.remove(nodes)


MODEL = """
    <ir_version: 10, opset_import: ["": 20]>
    main (bool c, float[3] x, {other}[3] z) => (float[3] y, {other}[3] w) {{
        a = Abs (x)
        b = If (c) < then_branch = then () => (float[3] d) {{ d = Abs (x) }},
                     else_branch = no () => (float[3] e) {{ e = Identity (x) }} >
        y = Add (a, b)
        w = Abs (z)
    }}
"""


def model(other: str = "float") -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(MODEL.format(other=other)))


def operators(of: ir.Model) -> list[str]:
    return [node.op_type for node in ir.traversal.RecursiveGraphIterator(of.graph)]


def test_every_scope_is_rewritten_and_the_change_is_told() -> None:
    made = model()
    assert Negate()(made).modified
    assert (operators(made).count("Abs"), operators(made).count("Neg")) == (0, 3)
    onnx.checker.check_model(ir.to_proto(made), full_check=True)
    assert not Negate()(made).modified


def test_a_form_that_is_not_known_is_refused_before_anything_changes() -> None:
    made = model("int32")
    before = operators(made)
    with pytest.raises(PreconditionError, match=r"^Abs.*float32$"):
        Negate()(made)
    assert operators(made) == before


@pytest.mark.parametrize(("wrong", "line"), [(Lazy, "Abs .* is left"), (Careless, "reads what Abs .* which is gone")])
def test_a_wrong_result_is_caught(wrong: type[Lowering], line: str) -> None:
    with pytest.raises(PostconditionError, match=line):
        wrong()(model())


def _undone(lowering: type[Lowering]) -> ir.Model:
    """A node of the operator that ``lowering`` is for, on three inputs of a type that it applies to."""
    dtype = ir.DataType.BFLOAT16 if lowering is LowerBfloat16Conv else ir.DataType.FLOAT
    inputs = [ir.val(name, dtype=dtype, shape=(1, 2, 8, 4)) for name in "abc"]
    node = ir.node(lowering.op_type, inputs[:2] if lowering in (LowerFloat32MatMul, LowerRMSNormalization) else inputs)
    node.outputs[0].name = "y"
    graph = ir.Graph(inputs, node.outputs, nodes=[node], opset_imports={"": 24}, name="one")
    return ir.Model(graph, ir_version=11)


@pytest.mark.parametrize("lowering", EVERY)
def test_each_pass_is_one_of_onnx_ir_and_notices_what_it_did_not_do(
    lowering: type[Lowering], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert issubclass(lowering, InPlacePass)
    assert lowering()(_undone(lowering)).modified
    monkeypatch.setattr(lowering, "rewrite", lambda self, scope, nodes: None)
    with pytest.raises(PostconditionError, match=f"{lowering.op_type} .* is left"):
        lowering()(_undone(lowering))


@pytest.mark.parametrize("lowering", EVERY)
def test_each_pass_refuses_what_it_cannot_know(lowering: type[Lowering]) -> None:
    """A first input that is missing, or, where the type decides, of unknown type."""
    made = _undone(lowering)
    (node,) = made.graph
    if lowering in (LowerBfloat16Conv, LowerFloat32MatMul):
        for value in made.graph.inputs:
            value.type = None
    else:
        node.replace_input_with(0, None)
    with pytest.raises(PreconditionError, match=lowering.op_type):
        lowering()(made)
    assert list(made.graph) == [node], "left as it was"
