"""What the passes share: their form, finding nodes, small constants, new nodes in the place of an old one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import InPlacePass, PassResult, PostconditionError, PreconditionError
from onnx_ir.tape import Tape

Scope: TypeAlias = "ir.Graph | ir.Function"
"""A list of nodes with names of their own: the main graph, a branch or loop body, or the body of a function."""


class Lowering(InPlacePass):
    """A pass that writes the nodes of one operator otherwise, scope by scope.

    Called with a model, it first checks every such node, in all scopes: what the pass does not know raises
    :class:`onnx_ir.passes.PreconditionError`, and the model stays as it was. Afterwards no such node may be left, and
    nothing may read what is no longer there, or :class:`onnx_ir.passes.PostconditionError` is raised. Both are bugs of
    ours. The result's ``modified`` says whether there was such a node.
    """

    op_type: str
    """The standard operator that is replaced."""

    def applies(self, node: ir.Node) -> bool:
        """Whether ``node``, of :attr:`op_type`, is one to replace: by default every one is."""
        return True

    def check(self, node: ir.Node) -> None:
        """Raises :class:`PreconditionError` if the pass does not know this form of the operator; called for every node
        of :attr:`op_type`."""

    @abstractmethod
    def rewrite(self, scope: Scope, nodes: Sequence[ir.Node]) -> None:
        """Replaces ``nodes``, at least one, all of ``scope`` itself and in its order."""

    def requires(self, model: ir.Model) -> None:
        for scope in scopes(model):
            for node in find(scope, self.op_type):
                self.check(node)

    def call(self, model: ir.Model) -> PassResult:
        modified = False
        for scope in list(scopes(model)):
            if nodes := self._found(scope):
                self.rewrite(scope, nodes)
                modified = True
        return PassResult(model, modified)

    def ensures(self, model: ir.Model) -> None:
        for scope in scopes(model):
            for node in self._found(scope):
                raise PostconditionError(f"{told(node)} is left")
            for node in scope:
                check_reads(told(node), node.inputs)
            check_reads(f"the end of {scope.name}", scope.outputs)

    def _found(self, scope: Scope) -> list[ir.Node]:
        return [node for node in find(scope, self.op_type) if self.applies(node)]


def check_reads(reader: str, values: Sequence[ir.Value | None]) -> None:
    """Raises :class:`PostconditionError` if one of ``values`` is put out by a node that is in no graph."""
    for value in values:
        producer = None if value is None else value.producer()
        if producer is not None and producer.graph is None:
            raise PostconditionError(f"{reader} reads what {told(producer)} put out, which is gone")


def told(node: ir.Node) -> str:
    """What to call ``node`` in a message."""
    return f"{node.op_type} {node.name}"


def expect(condition: bool, node: ir.Node, wrong: str) -> None:
    """Raises :class:`PreconditionError` that says what is ``wrong`` with ``node``, unless ``condition`` holds."""
    if not condition:
        raise PreconditionError(f"{told(node)} {wrong}")


def scopes(model: ir.Model) -> Iterator[Scope]:
    """The main graph, the functions, and every subgraph of either."""
    bodies: list[Scope] = [model.graph, *model.functions.values()]
    for body in bodies:
        yield body
        yield from body.subgraphs()


def find(scope: Scope, op_type: str) -> list[ir.Node]:
    """The nodes of ``scope`` itself, in their order, that are standard operators of type ``op_type``."""
    return [node for node in scope if node.op_type == op_type and node.domain == ""]


def given(*values: ir.Value | None) -> list[ir.Value]:
    """``values``, which a check has found to be there."""
    there = [value for value in values if value is not None]
    assert len(there) == len(values)
    return there


def const(tape: Tape, value: object, dtype: ir.DataType = ir.DataType.INT64) -> ir.Value:
    """Appends a small constant, held in the graph itself."""
    return tape.op("Constant", [], {"value": ir.tensor(np.asarray(value, dtype=dtype.numpy()), dtype=dtype)})


def numbers(tensor: ir.TensorProtocol) -> NDArray[Any]:
    """A copy of what a constant holds. ONNX IR keeps what it has read, a byte for each 4 bits; here that is let go."""
    array = np.array(tensor.numpy())
    if isinstance(tensor, ir.ExternalTensor):
        tensor.release()
    return array


def cast(tape: Tape, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    """Appends a conversion to ``dtype``."""
    return tape.op("Cast", [value], {"to": int(dtype)})


def replace(scope: Scope, node: ir.Node, tape: Tape, value: ir.Value) -> None:
    """Puts the nodes of ``tape`` in the place of ``node``; ``value`` takes over its only output, name included."""
    value.type, value.shape = node.outputs[0].type, node.outputs[0].shape
    ir.convenience.replace_nodes_and_values(scope, node, [node], tape.nodes, node.outputs[:1], [value])
