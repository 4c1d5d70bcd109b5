"""``Gather`` of rows from a table of integers."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.tape import Tape

from clasp_trt.engines.lowering.dequantized import Dequantized, dequantized, drop_unused
from clasp_trt.engines.lowering.rewriting import Lowering, Scope, cast, const, expect, given, replace


class LowerIntegerGather(Lowering):
    """Gathers rows of integers and their scales, and multiplies these: not all of the table at every step.

    It asks for symmetric 8-bit integers with a scale for each row.
    """

    op_type = "Gather"

    def applies(self, node: ir.Node) -> bool:
        return _table(node) is not None

    def check(self, node: ir.Node) -> None:
        table = _table(node)
        if table is None:
            return
        is_known = table.rank == 2 and table.axis == 0 and table.block is None and table.bits == 8
        is_known = is_known and not table.has_zeros and node.attributes.get_int("axis", 0) == 0
        expect(is_known, node, "looks up integers that are not symmetric, of 8 bits, with a scale for each row")

    def rewrite(self, scope: Scope, nodes: Sequence[ir.Node]) -> None:
        tables = [each for node in nodes if (each := _table(node)) is not None]
        for node, table in zip(nodes, tables, strict=True):
            tape, kind = Tape(), table.scales.dtype
            assert kind is not None
            index = given(*node.inputs)[1]
            rows = cast(tape, tape.op("Gather", [table.values, index], {"axis": 0}), kind)
            scales = tape.op("Unsqueeze", [tape.op("Gather", [table.scales, index], {"axis": 0}), const(tape, [-1])])
            replace(scope, node, tape, tape.op("Mul", [rows, scales]))
        drop_unused(scope, tables)


def _table(node: ir.Node) -> Dequantized | None:
    return dequantized(node.inputs[0] if node.inputs else None)
