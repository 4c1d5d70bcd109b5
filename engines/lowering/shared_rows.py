"""Products of the same rows, such as queries, keys and values, as one product that is split."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from clasp_trt.engines.lowering.dequantized import Dequantized, dequantized
from clasp_trt.engines.lowering.rewriting import Lowering, Scope, const, given, numbers


class JoinSharedRows(Lowering):
    """Writes ``MatMul`` by constants ``[inputs, outputs]`` that take the same rows as one by all of their outputs, and
    a ``Split``; biases that follow each of them are joined as well.

    No number changes: every output is the sum that it was. Weights are joined that are held alike, as floats of one
    type, or as integers of one width, with scales by output or by blocks of one size, and zero points in all or none;
    so are biases in all or none. What something else reads too stays as it is, for there would be two of it.
    """

    op_type = "MatMul"

    def applies(self, node: ir.Node) -> bool:
        form, rows = _form(node), node.inputs[0] if node.inputs else None
        if form is None or rows is None:
            return False
        others = (use.node for use in rows.uses() if use.idx == 0 and use.node is not node)
        return any(other.graph is node.graph and _form(other) == form for other in others)

    def rewrite(self, scope: Scope, nodes: Sequence[ir.Node]) -> None:
        assert isinstance(scope, ir.Graph)  # functions hold no weights
        groups: dict[tuple[ir.Value, Hashable], list[ir.Node]] = {}
        for node in nodes:
            groups.setdefault((given(*node.inputs)[0], _form(node)), []).append(node)
        for (rows, _), group in groups.items():
            _join(scope, rows, group)


class _Bias(NamedTuple):
    """The ``Add`` of a product and the constant that it adds."""

    node: ir.Node
    value: ir.Value


def _join(graph: ir.Graph, rows: ir.Value, group: list[ir.Node]) -> None:
    tape, ends, gone = Tape(), group, list[ir.Node]()
    product = tape.op("MatMul", [rows, _joined_weight(tape, graph, group, gone)])
    biases = [bias for node in group if (bias := _bias(node)) is not None]
    if biases:  # of all or none
        product = tape.op("Add", [product, _joined(tape, graph, [bias.value for bias in biases], 0)])
        ends = [bias.node for bias in biases]
        gone += group
    sizes = const(tape, [_sizes(given(*node.inputs)[1])[1] for node in group])
    parts = tape.op_multi_out("Split", [product, sizes], {"axis": -1}, num_outputs=len(group))
    old = [end.outputs[0] for end in ends]
    for part, value in zip(parts, old, strict=True):
        part.type, part.shape = value.type, value.shape
    ir.convenience.replace_nodes_and_values(graph, group[0], [*ends, *gone], tape.nodes, old, list(parts))
    for value in [value for value in graph.initializers.values() if not value.uses()]:
        if not value.is_graph_output():
            graph.initializers.pop(value.name or "")


def _joined_weight(tape: Tape, graph: ir.Graph, group: list[ir.Node], gone: list[ir.Node]) -> ir.Value:
    """The weights of ``group`` side by side; the nodes that made floats of them are added to what is ``gone``."""
    held = [dequantized(node.inputs[1]) for node in group]
    weights = [weight for weight in held if weight is not None]
    if not weights:
        return _joined(tape, graph, [given(*node.inputs)[1] for node in group], 1)
    gone += [weight.node for weight in weights]
    parts = [weight.values for weight in weights], [weight.scales for weight in weights]
    zeros = [weight.zeros for weight in weights if weight.zeros is not None]
    inputs = [_joined(tape, graph, values, _by_output(values[0])) for values in (*parts, zeros) if values]
    return tape.op("DequantizeLinear", inputs, weights[0].node.attributes)


def _joined(tape: Tape, graph: ir.Graph, values: Sequence[ir.Value], axis: int) -> ir.Value:
    """Constants one after the other on ``axis``, and so are their names; they are read when the whole is written."""
    tensors = [tensor for value in values if (tensor := value.const_value) is not None]
    shape = list(tensors[0].shape.numpy())
    shape[axis] = sum(tensor.shape.numpy()[axis] for tensor in tensors)
    kind, name = tensors[0].dtype, "+".join(str(value.name) for value in values)

    def made() -> ir.TensorProtocol:
        return ir.tensor(np.concatenate([numbers(tensor) for tensor in tensors], axis=axis), dtype=kind)

    joined = tape.initializer(ir.LazyTensor(made, dtype=kind, shape=ir.Shape(shape), name=name), name)
    graph.register_initializer(joined)
    return joined


def _form(node: ir.Node) -> Hashable:
    """What products have to have in common to be joined; None for one that cannot be."""
    if node.op_type != "MatMul" or node.domain != "" or len(node.inputs) < 2:
        return None
    value = node.inputs[1]
    weight = dequantized(value)
    if weight is None:
        if value is None or not _is_constant(value) or value.shape is None or len(value.shape) != 2:
            return None
        held: tuple[Hashable, ...] = (value.dtype,)
    else:
        parts = (weight.values, weight.scales, *(() if weight.zeros is None else (weight.zeros,)))
        if not (_is_read_once(weight.node.outputs[0]) and all(map(_is_constant, parts)) and _is_by_output(weight)):
            return None
        held = (weight.axis, weight.block, *(part.dtype for part in parts))
    bias = _bias(node)
    return (_sizes(value)[0], held, None if bias is None else bias.value.dtype)


def _is_constant(value: ir.Value) -> bool:
    """Whether it is an initializer that one node alone reads."""
    is_held = value.const_value is not None and value.is_initializer() and not value.is_graph_input()
    return is_held and _is_read_once(value)


def _is_read_once(value: ir.Value) -> bool:
    return len(value.uses()) == 1 and not value.is_graph_output()


def _is_by_output(weight: Dequantized) -> bool:
    """Whether each output has scales of its own, in the order of the outputs."""
    axis = 1 if weight.block is None else 0
    return weight.rank == 2 and weight.axis == axis


def _by_output(value: ir.Value) -> int:
    """The axis of outputs: the last."""
    return 0 if value.shape is not None and len(value.shape) == 1 else 1


def _sizes(value: ir.Value | None) -> tuple[int, int]:
    """Inputs and outputs of a weight, as the graph holds it."""
    weight = dequantized(value)
    held = value if weight is None else weight.values
    assert held is not None
    assert held.const_value is not None
    inputs, outputs = held.const_value.shape.numpy()
    return inputs, outputs


def _bias(node: ir.Node) -> _Bias | None:
    """What is added to the product, if that is a constant for each output and all that is done with it."""
    product = node.outputs[0]
    if not _is_read_once(product):
        return None
    (use,) = product.uses()
    if use.node.op_type != "Add" or use.node.domain != "" or use.node.graph is not node.graph:
        return None
    value = use.node.inputs[1 - use.idx]
    if value is None or value is product or not _is_constant(value) or value.shape is None or len(value.shape) != 1:
        return None
    return _Bias(use.node, value) if value.shape[0] == _sizes(node.inputs[1])[1] else None
