"""``MatMul`` of float32 as products and sums."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.tape import Tape

from clasp_trt.engines.lowering.rewriting import Scope, const, find, replace


def lower_float32_matmul(scope: Scope) -> bool:
    """Writes each float32 ``MatMul`` as a ``Mul`` of all pairs and a ``ReduceSum``, for GPUs without such a product.

    ``[..., m, k]`` times ``[..., k, n]`` is the sum over ``k`` of ``[..., m, 1, k]`` times ``[..., 1, n, k]``. A
    compiler that fuses the two never holds the pairs. Needs: known types and ranks, of 2 at least. Ensures: no
    ``MatMul`` of float32 is left. Returns whether there was one.
    """
    nodes = [node for node in find(scope, "MatMul") if _operands(node)[0].dtype == ir.DataType.FLOAT]
    for node in nodes:
        left, right = _operands(node)
        if left.shape is None or right.shape is None or min(len(left.shape), len(right.shape)) < 2:
            raise ValueError(f"MatMul {node.name} multiplies {left.shape} by {right.shape}, expected ranks from 2")
        tape, rank = Tape(), len(right.shape)
        columns = tape.op("Transpose", [right], {"perm": [*range(rank - 2), rank - 1, rank - 2]})
        across, down = const(tape, [-2]), const(tape, [-3])
        pairs = tape.op("Mul", [tape.op("Unsqueeze", [left, across]), tape.op("Unsqueeze", [columns, down])])
        replace(scope, node, tape, tape.op("ReduceSum", [pairs, const(tape, [-1])], {"keepdims": 0}))
    return bool(nodes)


def _operands(node: ir.Node) -> tuple[ir.Value, ir.Value]:
    left, right = node.inputs
    assert left is not None
    assert right is not None
    return left, right
