"""``MatMul`` by integers with a scale for each output, as a product of integers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from clasp_trt.engines.lowering.blocked_matmul import DOMAIN
from clasp_trt.engines.lowering.dequantized import Dequantized, dequantized, drop_unused
from clasp_trt.engines.lowering.rewriting import Lowering, Scope, cast, const, expect, given, replace

_FLOAT = ir.DataType.FLOAT
_MOST = 127.0
_ZERO = 128
_LEAST = 1e-30  # magnitude of a row, so that a row of zeros has a scale


class LowerChannelMatMul(Lowering):
    """Writes each product of rows and a constant ``[inputs, outputs]`` of 8-bit integers, with a scale for each output,
    as one of integers, ONNX Runtime's ``MatMulIntegerToFloat``.

    Each row is rounded to 8 bits by a scale of its own, its greatest magnitude over 127, so that it does not matter
    which rows come with it. Rows of other types than float32 are widened before that and narrowed after. It asks for
    symmetric integers.
    """

    op_type = "MatMul"

    def applies(self, node: ir.Node) -> bool:
        return _weight(node) is not None

    def check(self, node: ir.Node) -> None:
        weight = _weight(node)
        if weight is None:
            return
        is_known = weight.rank == 2 and weight.axis == 1 and weight.bits == 8 and not weight.has_zeros
        expect(is_known, node, "multiplies by integers that are not symmetric, of 8 bits, with a scale for each output")
        expect(node.inputs[0] is not None and weight.scales.dtype is not None, node, "has an input of unknown type")

    def rewrite(self, scope: Scope, nodes: Sequence[ir.Node]) -> None:
        weights = [each for node in nodes if (each := _weight(node)) is not None]
        rounded: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}  # rows that several products take, such as q, k and v
        seen: set[ir.Value] = set()
        for node, weight in zip(nodes, weights, strict=True):
            tape, rows, kind = Tape(), given(*node.inputs)[0], weight.scales.dtype
            assert kind is not None
            if rows not in rounded:
                rounded[rows] = _rounded(tape, rows if kind == _FLOAT else cast(tape, rows, _FLOAT))
            integers, scale = rounded[rows]
            by_output = weight.scales if kind == _FLOAT else cast(tape, weight.scales, _FLOAT)
            one, zero = const(tape, 1.0, _FLOAT), const(tape, _ZERO, ir.DataType.UINT8)
            values = weight.values if weight.values not in seen else _again(scope, weight.values, len(seen))
            seen.add(values)
            inputs = [integers, values, one, by_output, zero]
            product = tape.op("Mul", [tape.op("MatMulIntegerToFloat", inputs, domain=DOMAIN), scale])
            replace(scope, node, tape, product if kind == _FLOAT else cast(tape, product, kind))
        drop_unused(scope, weights)


def _rounded(tape: Tape, rows: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Rows as unsigned integers around 128, and the scale of each, ``[..., 1]``."""
    most = const(tape, _MOST, _FLOAT)
    greatest = tape.op("ReduceMax", [tape.op("Abs", [rows]), const(tape, [-1])], {"keepdims": 1})
    bounded = tape.op("Max", [greatest, const(tape, np.float32(_LEAST), _FLOAT)])
    spread = tape.op("Mul", [rows, tape.op("Div", [most, bounded])])
    one, zero = const(tape, 1.0, _FLOAT), const(tape, _ZERO, ir.DataType.UINT8)
    return tape.op("QuantizeLinear", [spread, one, zero]), tape.op("Div", [bounded, most])


def _again(scope: Scope, values: ir.Value, number: int) -> ir.Value:
    """The same weight as an initializer of its own: ONNX Runtime cannot make one unsigned for two nodes, which it does
    on CPUs whose products of bytes overflow."""
    tensor, name = values.const_value, f"{values.name}_{number}"
    assert tensor is not None
    assert isinstance(scope, ir.Graph)
    copy = ir.LazyTensor(lambda: tensor, dtype=tensor.dtype, shape=tensor.shape, name=name)  # type: ignore[arg-type]
    value = ir.Value(name=name, type=values.type, shape=values.shape, const_value=copy)
    scope.register_initializer(value)
    return value


def _weight(node: ir.Node) -> Dequantized | None:
    """The right side, if it is of integers with a scale for each index."""
    weight = dequantized(node.inputs[1] if len(node.inputs) > 1 else None)
    return None if weight is None or weight.block is not None else weight
