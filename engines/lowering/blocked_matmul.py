"""``MatMul`` by integers with scales by block, as ONNX Runtime's ``MatMulNBits``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.tape import Tape

from clasp_trt.engines.lowering.dequantized import Dequantized, dequantized, drop_unused
from clasp_trt.engines.lowering.rewriting import Lowering, Scope, expect, given, numbers, replace

DOMAIN = "com.microsoft"
ROWS_IN_INT8 = 4
"""The ``accuracy_level`` at which the left side is rounded too, each block of a row to 8 bits, and integers are
multiplied."""


class LowerBlockedMatMul(Lowering):
    """Writes each product of rows and a constant ``[inputs, outputs]`` of integers of 4 or 8 bits, whose scales are by
    block of inputs, as ``MatMulNBits``. Its weights are laid out anew: by output, in each its blocks.

    It asks for blocks of 16 or more, powers of 2, that divide the inputs. Zero points are taken along.
    """

    op_type = "MatMul"

    def applies(self, node: ir.Node) -> bool:
        return _weight(node) is not None

    def check(self, node: ir.Node) -> None:
        weight = _weight(node)
        if weight is None:
            return
        inputs = weight.values.shape[0] if weight.rank == 2 and weight.values.shape is not None else 0
        block = weight.block or 0
        is_known = weight.rank == 2 and weight.axis == 0 and weight.bits in (4, 8)
        expect(is_known, node, "multiplies by integers that are not of 4 or 8 bits in blocks of inputs")
        divides = isinstance(inputs, int) and block >= 16 and inputs % block == 0 and block & (block - 1) == 0
        expect(divides, node, f"multiplies by blocks of {block} of {inputs} inputs")

    def rewrite(self, scope: Scope, nodes: Sequence[ir.Node]) -> None:
        weights = [each for node in nodes if (each := _weight(node)) is not None]
        packed: dict[str | None, tuple[ir.Value, ...]] = {}
        for node, weight in zip(nodes, weights, strict=True):
            tape = Tape()
            name = weight.values.name
            if name not in packed:
                packed[name] = _packed(tape, weight)
                assert isinstance(scope, ir.Graph)
                for value in packed[name]:
                    scope.register_initializer(value)
            assert weight.values.const_value is not None
            inputs, outputs = weight.values.const_value.shape.numpy()
            attributes = {
                "K": inputs,
                "N": outputs,
                "bits": weight.bits,
                "block_size": weight.block,
                "accuracy_level": ROWS_IN_INT8,
            }
            rows = given(*node.inputs)[0]
            product = tape.op("MatMulNBits", [rows, *packed[name]], attributes, domain=DOMAIN)
            replace(scope, node, tape, product)
        drop_unused(scope, weights)


def _weight(node: ir.Node) -> Dequantized | None:
    """The right side, if it is of integers in blocks."""
    weight = dequantized(node.inputs[1] if len(node.inputs) > 1 else None)
    return None if weight is None or weight.block is None else weight


def _packed(tape: Tape, weight: Dequantized) -> tuple[ir.Value, ...]:
    """Integers ``[outputs, blocks, bytes of a block]``, of which the middle is 0, scales ``[outputs, blocks]`` and, if
    there are any, zero points ``[outputs, bytes of the blocks]``; all are made when they are written."""
    values, scales = weight.values.const_value, weight.scales.const_value
    assert values is not None
    assert scales is not None
    assert weight.block is not None
    inputs, outputs = values.shape.numpy()
    blocks, block = inputs // weight.block, weight.block

    def integers() -> ir.TensorProtocol:
        return ir.Tensor(_unsigned(values, weight.bits).reshape(outputs, blocks, -1))

    def turned() -> ir.TensorProtocol:
        return ir.Tensor(np.ascontiguousarray(numbers(scales).T), dtype=scales.dtype)

    names = f"{weight.values.name}_by_output", f"{weight.scales.name}_by_output"
    shapes = ir.Shape((outputs, blocks, block * weight.bits // 8)), ir.Shape((outputs, blocks))
    made = (
        ir.LazyTensor(integers, dtype=ir.DataType.UINT8, shape=shapes[0], name=names[0]),
        ir.LazyTensor(turned, dtype=scales.dtype, shape=shapes[1], name=names[1]),
    )
    held = tuple(tape.initializer(tensor, name) for tensor, name in zip(made, names, strict=True))
    return held if weight.zeros is None else (*held, _zeros(tape, weight.zeros, weight.bits))


def _zeros(tape: Tape, zeros: ir.Value, bits: int) -> ir.Value:
    """Those ``[blocks, outputs]`` by output; what fills up a byte is 0."""
    tensor, name = zeros.const_value, f"{zeros.name}_by_output"
    assert tensor is not None
    blocks, outputs = tensor.shape.numpy()
    shape = ir.Shape((outputs, -(-blocks * bits // 8)))
    made = ir.LazyTensor(lambda: ir.Tensor(_unsigned(tensor, bits)), dtype=ir.DataType.UINT8, shape=shape, name=name)
    return tape.initializer(made, name)


def _unsigned(signed: ir.TensorProtocol, bits: int) -> NDArray[np.uint8]:
    """Of ``[rows, outputs]`` the integers plus half their range, ``[outputs, bytes of the rows]``, low halves first."""
    wide = numbers(signed).astype(np.int16).T + 2 ** (bits - 1)
    found: NDArray[np.uint8] = wide.astype(np.uint8)
    if bits == 8:
        return found
    even = np.pad(found, ((0, 0), (0, found.shape[1] % 2)))
    packed: NDArray[np.uint8] = even[:, 0::2] | (even[:, 1::2] << np.uint8(4))
    return packed
