"""A small builder of ONNX graphs whose ports are declared once: to ONNX, to the reader, and to the manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.tape import Tape

from clasp_trt.chain.ports import Port
from clasp_trt.operators import DOMAIN, DOMAIN_VERSION
from clasp_trt.targets import PORTABLE_OPSET
from clasp_trt.tensors import TensorSpec

IR_VERSION = 11

DTYPES = {
    "float32": ir.DataType.FLOAT,
    "float16": ir.DataType.FLOAT16,
    "bfloat16": ir.DataType.BFLOAT16,
    "int64": ir.DataType.INT64,
    "bool": ir.DataType.BOOL,
}


@dataclass(frozen=True)
class Integers:
    """A weight that a graph holds as integers, ``values`` of INT4 or INT8, or in FP8.

    Less ``zeros``, if there are any, and times ``scales``, in the type of the graph, they are the weight. Scales are
    by the index on ``axis`` or, with a ``block``, by runs of as many indices on it. ``order`` int64 ``[inputs]`` says
    which input of what is multiplied stands where; None if each has its own place. ``cast`` is the type of the graph
    where the scales have another.
    """

    values: ir.TensorProtocol
    scales: ir.TensorProtocol
    zeros: ir.TensorProtocol | None
    axis: int
    block: int | None
    order: NDArray[np.int64] | None = None
    cast: ir.DataType | None = None

    @property
    def attributes(self) -> dict[str, Any]:
        """Those of the ``DequantizeLinear`` that makes floats of them."""
        return {"axis": self.axis, **({} if self.block is None else {"block_size": self.block})}

    def named(self, name: str) -> dict[str, ir.TensorProtocol]:
        """The inputs of that node in their order, for a weight called ``name``."""
        zeros = {} if self.zeros is None else {f"{name}_zero_point": self.zeros}
        return {name: self.values, f"{name}_scale": self.scales, **zeros}


class GraphBuilder:
    """Records nodes, weights and ports of one graph; :meth:`model` closes it.

    The graph's docstring lists every port with its shape, dtype and meaning.
    """

    def __init__(self, name: str, purpose: str) -> None:
        self.name = name
        self._purpose = purpose
        self._tape = Tape()
        self._inputs: list[ir.Value] = []
        self._outputs: list[ir.Value] = []
        self._meanings: dict[str, str] = {}
        self._scalars: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
        self._ordered: dict[tuple[ir.Value, bytes], ir.Value] = {}

    def take(self, ports: Iterable[Port]) -> tuple[ir.Value, ...]:
        """Declares the inputs of a graph of the chain."""
        return tuple(self.input(each.name, each.dtype, each.shape, each.meaning) for each in ports)

    def give(self, ports: Iterable[Port], *values: ir.Value) -> None:
        """Declares ``values`` as the outputs of a graph of the chain, in its order."""
        for each, value in zip(ports, values, strict=True):
            self.output(value, each.name, each.dtype, each.shape, each.meaning)

    def input(self, name: str, dtype: str, shape: Sequence[int | str], meaning: str) -> ir.Value:
        """Declares an input; ``shape`` mixes sizes and symbolic names."""
        value = ir.val(name, dtype=DTYPES[dtype], shape=tuple(shape))
        self._inputs.append(value)
        self._meanings[name] = meaning
        return value

    def output(self, value: ir.Value, name: str, dtype: str, shape: Sequence[int | str], meaning: str) -> None:
        """Declares ``value`` as an output under ``name``."""
        named = self.op("Identity", value) if value in self._inputs or value in self._outputs else value
        named.name, named.dtype, named.shape = name, DTYPES[dtype], ir.Shape(shape)
        self._outputs.append(named)
        self._meanings[name] = meaning

    def op(self, op_type: str, *inputs: ir.Value | None, domain: str = "", **attributes: Any) -> ir.Value:
        """Appends a node with one output and returns that output."""
        return self._tape.op(op_type, inputs, attributes or None, domain=domain)

    def ops(
        self, op_type: str, *inputs: ir.Value | None, outputs: int, domain: str = "", **attributes: Any
    ) -> Sequence[ir.Value]:
        """Appends a node with several outputs and returns them."""
        return self._tape.op_multi_out(op_type, inputs, attributes or None, domain=domain, num_outputs=outputs)

    def const(self, value: object, dtype: str = "int64") -> ir.Value:
        """A small constant, held in the graph itself; equal constants are one node."""
        array = np.asarray(value, dtype=DTYPES[dtype].numpy())
        key = (dtype, array.shape, array.tobytes())
        if key not in self._scalars:
            self._scalars[key] = self.op("Constant", value=ir.tensor(array))
        return self._scalars[key]

    def weight(self, name: str, tensor: ir.TensorProtocol | Integers) -> ir.Value:
        """A weight, stored beside the graph as external data; of one in integers, the floats."""
        if isinstance(tensor, Integers):
            held = [self._tape.initializer(each, part) for part, each in tensor.named(name).items()]
            floats = self.op("DequantizeLinear", *held, **tensor.attributes)
            return floats if tensor.cast is None else self.op("Cast", floats, to=int(tensor.cast))
        return self._tape.initializer(tensor, name)

    def product(self, rows: ir.Value, name: str, matrix: ir.TensorProtocol | Integers) -> ir.Value:
        """``rows`` ``[..., inputs]`` times the weight ``[inputs, outputs]`` called ``name``, after they are put into
        the order that its integers have, if that is another."""
        if isinstance(matrix, Integers) and matrix.order is not None:
            key = (rows, matrix.order.tobytes())
            if key not in self._ordered:
                order = self.weight(f"{name}_order", ir.tensor(matrix.order))
                self._ordered[key] = self.op("Gather", rows, order, axis=-1)
            rows = self._ordered[key]
        return self.op("MatMul", rows, self.weight(name, matrix))

    def loop(
        self, name: str, count: ir.Value, start: ir.Value, step: Callable[[GraphBuilder, ir.Value], ir.Value]
    ) -> ir.Value:
        """``step`` taken ``count`` int64 ``[1]`` times on a value that begins as ``start``; it records what it does in
        the builder that it is given, and may read values of this one. What is inside is named after ``name``."""
        inner = GraphBuilder(name, "")
        number = ir.val(f"{name}_number", dtype=ir.DataType.INT64, shape=())
        going = ir.val(f"{name}_going", dtype=ir.DataType.BOOL, shape=())
        value = ir.val(f"{name}_value", dtype=start.dtype, shape=start.shape)
        goes, after = inner.op("Identity", going), step(inner, value)
        for position, node in enumerate(inner._tape.nodes):
            node.name = f"{name}_{position}"
            for output in node.outputs:  # a name inside must not be one of those around it
                output.name = f"{name}_{position}_{output.index()}"
        body = ir.Graph([number, going, value], [goes, after], nodes=inner._tape.nodes, name=name)
        times = self.op("Squeeze", count, self.const([0]))
        return self.op("Loop", times, self.const(True, "bool"), start, body=body)  # TensorRT reads no Loop without one

    def cast(self, value: ir.Value, dtype: str) -> ir.Value:
        return self.op("Cast", value, to=int(DTYPES[dtype]))

    def model(self, functions: Iterable[ir.Function] = ()) -> ir.Model:
        """The finished model, strongly typed, at :data:`clasp_trt.targets.PORTABLE_OPSET`."""
        graph = ir.Graph(
            self._inputs,
            self._outputs,
            nodes=self._tape.nodes,
            initializers=self._tape.initializers,
            opset_imports={"": PORTABLE_OPSET},
            name=self.name,
        )
        graph.doc_string = "\n".join([self._purpose, *describe_ports(graph, self._meanings)])
        local = list(functions)
        if local:
            graph.opset_imports[DOMAIN] = DOMAIN_VERSION
        return ir.Model(graph, ir_version=IR_VERSION, producer_name="clasp-trt", functions=local)

    def function(self, attributes: dict[str, int]) -> ir.Function:
        """The recorded nodes as a model-local function of domain ``clasp`` with the given attribute defaults."""
        graph = ir.Graph(
            self._inputs,
            self._outputs,
            nodes=self._tape.nodes,
            opset_imports={"": PORTABLE_OPSET},
            name=self.name,
        )
        defaults = [ir.AttrInt64(name, value) for name, value in attributes.items()]
        return ir.Function(DOMAIN, self.name, graph=graph, attributes=defaults)


def ports(values: Iterable[ir.Value]) -> tuple[TensorSpec, ...]:
    """The manifest's description of graph inputs or outputs."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    specs = []
    for value in values:
        if value.name is None or value.dtype is None or value.shape is None:
            raise ValueError(f"port {value} of an exported graph lacks a name, dtype or shape")
        shape = tuple(d if isinstance(d, int) else str(d.value) for d in value.shape)
        specs.append(TensorSpec(value.name, names[value.dtype], shape))
    return tuple(specs)


def describe_ports(graph: ir.Graph, meanings: Mapping[str, str]) -> list[str]:
    """One line a port: direction, name, dtype, shape, meaning."""
    sides = (("in ", graph.inputs), ("out", graph.outputs))
    return [
        f"{side} {port.name}: {port.dtype}[{', '.join(map(str, port.shape))}]  {meanings[port.name]}"
        for side, values in sides
        for port in ports(values)
    ]
