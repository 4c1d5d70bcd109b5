"""``MatMul`` of float32 as products and sums."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.tape import Tape

from clasp_trt.engines.lowering.rewriting import Lowering, Scope, const, expect, given, replace


class LowerFloat32MatMul(Lowering):
    """Writes each float32 ``MatMul`` as a ``Mul`` of all pairs and a ``ReduceSum``, for GPUs without such a product.

    ``[..., m, k]`` times ``[..., k, n]`` is the sum over ``k`` of ``[..., m, 1, k]`` times ``[..., 1, n, k]``. A
    compiler that fuses the two never holds the pairs. It asks for known types and ranks, of 2 at least.
    """

    op_type = "MatMul"

    def applies(self, node: ir.Node) -> bool:
        return given(*node.inputs)[0].dtype == ir.DataType.FLOAT

    def check(self, node: ir.Node) -> None:
        left, right = given(*node.inputs)
        expect(left.dtype is not None, node, "has an input of unknown type")
        if self.applies(node):
            ranks = [0 if value.shape is None else len(value.shape) for value in (left, right)]
            expect(min(ranks) >= 2, node, f"multiplies {left.shape} by {right.shape}, expected ranks from 2")

    def rewrite(self, scope: Scope, nodes: Sequence[ir.Node]) -> None:
        for node in nodes:
            left, right = given(*node.inputs)
            assert right.shape is not None
            tape, rank = Tape(), len(right.shape)
            columns = tape.op("Transpose", [right], {"perm": [*range(rank - 2), rank - 1, rank - 2]})
            across, down = const(tape, [-2]), const(tape, [-3])
            pairs = tape.op("Mul", [tape.op("Unsqueeze", [left, across]), tape.op("Unsqueeze", [columns, down])])
            replace(scope, node, tape, tape.op("ReduceSum", [pairs, const(tape, [-1])], {"keepdims": 0}))
