"""What the passes share: finding nodes, small constants, and putting new nodes in the place of an old one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

Scope: TypeAlias = "ir.Graph | ir.Function"
"""A list of nodes with names of their own: the main graph, a branch or loop body, or the body of a function."""


def scopes(model: ir.Model) -> Iterator[Scope]:
    """The main graph, the functions, and every subgraph of either."""
    bodies: list[Scope] = [model.graph, *model.functions.values()]
    for body in bodies:
        yield body
        yield from body.subgraphs()


def find(scope: Scope, op_type: str) -> list[ir.Node]:
    """The nodes of ``scope`` itself, in their order, that are standard operators of type ``op_type``."""
    return [node for node in scope if node.op_type == op_type and node.domain == ""]


def const(tape: Tape, value: object, dtype: ir.DataType = ir.DataType.INT64) -> ir.Value:
    """Appends a small constant, held in the graph itself."""
    return tape.op("Constant", [], {"value": ir.tensor(np.asarray(value, dtype=dtype.numpy()), dtype=dtype)})


def cast(tape: Tape, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    """Appends a conversion to ``dtype``."""
    return tape.op("Cast", [value], {"to": int(dtype)})


def replace(scope: Scope, node: ir.Node, tape: Tape, value: ir.Value) -> None:
    """Puts the nodes of ``tape`` in the place of ``node``; ``value`` takes over its only output, name included."""
    value.type, value.shape = node.outputs[0].type, node.outputs[0].shape
    ir.convenience.replace_nodes_and_values(scope, node, [node], tape.nodes, node.outputs[:1], [value])
