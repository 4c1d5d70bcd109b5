"""What the passes over integer weights share: the ``DequantizeLinear`` of a weight, and how it goes."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from clasp_trt.engines.lowering.rewriting import Scope


@dataclass(frozen=True)
class Dequantized:
    """A weight that ``node`` makes floats of: ``values``, ``scales`` and perhaps ``zeros`` as the graph holds them,
    ``block`` indices of ``axis`` to a scale, or None where there is one for each index."""

    node: ir.Node
    values: ir.Value
    scales: ir.Value
    zeros: ir.Value | None
    axis: int
    block: int | None

    @property
    def has_zeros(self) -> bool:
        return self.zeros is not None

    @property
    def rank(self) -> int:
        return 0 if self.values.shape is None else len(self.values.shape)

    @property
    def bits(self) -> int:
        return 0 if self.values.dtype is None else self.values.dtype.bitwidth


def dequantized(value: ir.Value | None) -> Dequantized | None:
    """The weight that ``value`` is the floats of; None if it is not one that is held as integers."""
    node = None if value is None else value.producer()
    if node is None or node.op_type != "DequantizeLinear" or node.domain != "":
        return None
    values, scales, zeros = (*node.inputs, None)[:3]
    if values is None or scales is None or values.const_value is None or scales.const_value is None:
        return None
    if zeros is not None and zeros.const_value is None:
        return None
    block = node.attributes.get_int("block_size", 0)
    return Dequantized(node, values, scales, zeros, node.attributes.get_int("axis", 1), block if block else None)


def drop_unused(scope: Scope, weights: list[Dequantized]) -> None:
    """Removes the nodes of ``weights`` that nobody reads any more, and the initializers that they alone read."""
    for weight in {id(each.node): each for each in weights}.values():
        if weight.node.outputs[0].uses() or weight.node.outputs[0].is_graph_output():
            continue
        inputs = [value for value in weight.node.inputs if value is not None]
        scope.remove(weight.node, safe=True)
        for value in inputs:
            if value.name is not None and not value.uses() and isinstance(scope, ir.Graph):
                scope.initializers.pop(value.name, None)
