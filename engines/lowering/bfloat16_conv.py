"""``Conv`` of bfloat16 (opset 22) as a ``Conv`` of float32."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.tape import Tape

from clasp_trt.engines.lowering.rewriting import Lowering, Scope, cast, expect, given, replace


class LowerBfloat16Conv(Lowering):
    """Puts each bfloat16 ``Conv`` between conversions, weights included: older ones know no bfloat16.

    It asks for inputs of known types.
    """

    op_type = "Conv"

    def applies(self, node: ir.Node) -> bool:
        return any(value is not None and value.dtype == ir.DataType.BFLOAT16 for value in node.inputs)

    def check(self, node: ir.Node) -> None:
        for value in given(*(each for each in node.inputs if each is not None)):
            producer = value.producer()
            is_converted = producer is not None and producer.op_type == "Cast"  # to float32, by this pass
            expect(is_converted or value.dtype is not None, node, "has an input of unknown type")

    def rewrite(self, scope: Scope, nodes: Sequence[ir.Node]) -> None:
        for node in nodes:
            tape = Tape()
            wide = [None if value is None else cast(tape, value, ir.DataType.FLOAT) for value in node.inputs]
            replace(scope, node, tape, cast(tape, tape.op("Conv", wide, node.attributes), ir.DataType.BFLOAT16))
