"""``RotaryEmbedding`` (opset 23) as products of the two halves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from clasp_trt.engines.lowering.rewriting import Lowering, Scope, const, expect, given, replace


class LowerRotaryEmbedding(Lowering):
    """Replaces each ``RotaryEmbedding`` by its definition, in the type of its input.

    It knows an input ``[batch, heads, sequence, head_dim]``, not interleaved; tables ``[positions, rotated / 2]`` and
    ``position_ids``, or tables ``[batch, sequence, rotated / 2]`` and none. Nodes with the same tables and positions
    share the rows read from them.
    """

    op_type = "RotaryEmbedding"

    def check(self, node: ir.Node) -> None:
        x, cos_table, sin_table = (*node.inputs, None, None)[:3]
        expect(x is not None and cos_table is not None and sin_table is not None, node, "lacks an input")
        is_plain = not node.attributes.get_int("interleaved", 0) and not node.attributes.get_int("num_heads", 0)
        expect(is_plain, node, "is interleaved or has its heads in the last dimension")

    def rewrite(self, scope: Scope, nodes: Sequence[ir.Node]) -> None:
        rows: dict[tuple[ir.Value, ir.Value | None], ir.Value] = {}
        for node in nodes:
            x, cos_table, sin_table = given(*node.inputs[:3])
            positions = (*node.inputs, None)[3]
            tape = Tape()
            for table in (cos_table, sin_table):
                if (table, positions) not in rows:
                    rows[table, positions] = _rows(tape, table, positions)
            cos, sin = rows[cos_table, positions], rows[sin_table, positions]
            rotated = node.attributes.get_int("rotary_embedding_dim", 0)
            turning, still = (_columns(tape, x, 0, rotated), [_columns(tape, x, rotated, None)]) if rotated else (x, [])
            first, second = tape.op_multi_out("Split", [turning], {"axis": -1, "num_outputs": 2}, num_outputs=2)
            real = tape.op("Sub", [tape.op("Mul", [first, cos]), tape.op("Mul", [second, sin])])
            imaginary = tape.op("Add", [tape.op("Mul", [second, cos]), tape.op("Mul", [first, sin])])
            replace(scope, node, tape, tape.op("Concat", [real, imaginary, *still], {"axis": -1}))


def _rows(tape: Tape, table: ir.Value, positions: ir.Value | None) -> ir.Value:
    """What each position reads from a table, the same for all heads: ``[batch, 1, sequence, rotated / 2]``."""
    read = table if positions is None else tape.op("Gather", [table, positions], {"axis": 0})
    return tape.op("Unsqueeze", [read, const(tape, [1])])


def _columns(tape: Tape, x: ir.Value, start: int, end: int | None) -> ir.Value:
    stop = np.iinfo(np.int64).max if end is None else end
    return tape.op("Slice", [x, const(tape, [start]), const(tape, [stop]), const(tape, [-1])])
