"""``RMSNormalization`` (opset 23) as a mean of squares."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.tape import Tape

from clasp_trt.engines.lowering.rewriting import Lowering, Scope, cast, const, expect, given, replace


class LowerRMSNormalization(Lowering):
    """Replaces each ``RMSNormalization`` by ``x / sqrt(mean(x^2) + epsilon)`` in float32, times the scale.

    It knows an ``axis`` counted from the end, and the default ``stash_type``, float32.
    """

    op_type = "RMSNormalization"

    def check(self, node: ir.Node) -> None:
        x, scale = (*node.inputs, None)[:2]
        from_end = node.attributes.get_int("axis", -1) < 0
        expect(
            x is not None and scale is not None and from_end, node, "lacks an input or counts its axis from the start"
        )
        stash = node.attributes.get_int("stash_type", int(ir.DataType.FLOAT))
        expect(stash == int(ir.DataType.FLOAT), node, "does not compute in float32")

    def rewrite(self, scope: Scope, nodes: Sequence[ir.Node]) -> None:
        for node in nodes:
            x, scale = given(*node.inputs)
            axis = node.attributes.get_int("axis", -1)
            tape = Tape()
            wide = cast(tape, x, ir.DataType.FLOAT)
            axes = const(tape, list(range(axis, 0)))
            mean = tape.op("ReduceMean", [tape.op("Mul", [wide, wide]), axes], {"keepdims": 1})
            epsilon = const(tape, node.attributes.get_float("epsilon", 1e-5), ir.DataType.FLOAT)
            root = tape.op("Sqrt", [tape.op("Add", [mean, epsilon])])
            normed = tape.op("CastLike", [tape.op("Div", [wide, root]), x])
            replace(scope, node, tape, tape.op("Mul", [normed, scale]))
