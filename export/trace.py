"""Tracing of vision towers and projectors with ``torch.onnx.export``, without ever loading their weights.

The module is built on torch's meta device, so tracing costs no memory; afterwards each weight of the graph becomes a
lazy reference into the checkpoint. Transposes that the tracer put before matrix products are done once, when the
weight is written.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from onnx_ir.tape import Tape
from onnxscript import optimizer

from clasp_trt.chain.ports import Port, Ports
from clasp_trt.errors import CheckpointError
from clasp_trt.export.config import UNQUANTISED
from clasp_trt.export.graph import DTYPES, IR_VERSION, Integers, describe_ports
from clasp_trt.export.weights.graph import Weights
from clasp_trt.targets import PORTABLE_OPSET

_EXAMPLES = 2
"""The batch of what is traced: the tracer takes a size of 1 for a constant."""


def trace(module: torch.nn.Module, ports: Ports, weights: Weights, purpose: str) -> ir.Model:
    """Traces ``module`` (on the meta device), whose symbolic dimensions are those of ``ports``.

    The arguments of ``module`` bear the names of the inputs of ``ports``. A parameter ``a.b.weight`` of the
    module becomes the weight of that name in ``weights``; buffers keep their values.
    """
    model = capture(module, ports)
    matrices = link_weights(model.graph, {name for name, _ in module.named_parameters()}, weights)
    optimizer.optimize_ir(model, input_size_limit=4096, output_size_limit=4096)
    _pack(model.graph, matrices)  # last, for the optimizer makes floats of small integers
    _declare(model, ports, purpose)
    return model


def capture(module: torch.nn.Module, ports: Ports) -> ir.Model:
    """The tracer's graph as it is, with the parameters of ``module`` as initializers without values.

    It depends on the module with its config and on the ports alone, never on a weight.
    """
    dims = {name: torch.export.Dim(name) for each in ports.inputs for name in each.shape if isinstance(name, str)}
    with quiet():
        program = torch.onnx.export(
            module.eval(),
            kwargs={each.name: _example(each) for each in ports.inputs},
            dynamo=True,
            opset_version=PORTABLE_OPSET,
            input_names=[each.name for each in ports.inputs],
            output_names=[each.name for each in ports.outputs],
            dynamic_shapes={
                each.name: {axis: dims[size] for axis, size in enumerate(each.shape) if isinstance(size, str)}
                for each in ports.inputs
            },
            optimize=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    model = program.model
    if model.graph.opset_imports[""] != PORTABLE_OPSET:
        made = model.graph.opset_imports[""]
        raise RuntimeError(f"torch.onnx.export made opset {made}, asked for {PORTABLE_OPSET}")
    return model


def link_weights(graph: ir.Graph, parameters: set[str], weights: Weights) -> dict[str, Integers]:
    """Points each parameter of a traced graph at the checkpoint; those that may be integers instead are returned.

    Needs: initializers named after parameters, used directly or through ``Transpose``. Ensures: no meta tensor is
    left, and no ``Transpose`` of a weight.
    """
    found = dict[str, Integers]()
    for name in [n for n in graph.initializers if n in parameters]:
        value = graph.initializers[name]
        shape = tuple(d for d in value.shape or () if isinstance(d, int))
        transposes = [node for node, _ in value.uses() if node.op_type == "Transpose"]
        turned = bool(transposes) and len(transposes) == len(list(value.uses()))
        tensor = weights.tensor(name, shape, transpose=turned)
        if turned:
            value.shape = ir.Shape(shape[::-1])
            for node in transposes:
                ir.convenience.replace_all_uses_with(node.outputs[0], value)
                graph.remove(node, safe=True)
        value.const_value, value.dtype = tensor, tensor.dtype
        matrix = weights.matrix(name, shape, transpose=turned)
        if isinstance(matrix, Integers):
            found[name] = matrix
    for name in [n for n, v in graph.initializers.items() if not v.uses() and not v.is_graph_output()]:
        del graph.initializers[name]
    return found


def _pack(graph: ir.Graph, matrices: Mapping[str, Integers]) -> None:
    """Puts integers and the node that makes floats of them in the place of float weights."""
    for name, integers in matrices.items():
        value = graph.initializers.pop(name)
        tape = Tape()
        held = [tape.initializer(each, part) for part, each in integers.named(name).items()]
        floats = tape.op("DequantizeLinear", held, integers.attributes)
        floats.shape, floats.type = value.shape, value.type
        if integers.order is not None:
            _reorder(graph, value, integers.order)
        ir.convenience.replace_all_uses_with(value, floats)
        for each in held:
            graph.register_initializer(each)
        graph.insert_before(graph[0], tape.nodes)


def _reorder(graph: ir.Graph, weight: ir.Value, order: NDArray[np.int64]) -> None:
    """Puts the rows that are multiplied by ``weight`` into another order of their inputs."""
    held = ir.Value(name=f"{weight.name}_order", const_value=ir.tensor(order))
    held.type, held.shape = ir.TensorType(ir.DataType.INT64), ir.Shape(order.shape)
    graph.register_initializer(held)
    for node, place in list(weight.uses()):
        if (node.op_type, place) not in (("MatMul", 1), ("Gemm", 1)) or node.attributes.get_int("transA", 0) != 0:
            raise CheckpointError(
                f"the tensor {weight.name} has its inputs in groups by their activations (desc_act), and is used by "
                f"{node.op_type}, whose rows cannot be reordered; {UNQUANTISED}"
            )
        tape = Tape()
        node.replace_input_with(0, tape.op("Gather", [node.inputs[0], held], {"axis": -1}))
        graph.insert_before(node, tape.nodes)


def _example(port: Port) -> torch.Tensor:
    shape = [size if isinstance(size, int) else _EXAMPLES for size in port.shape]
    return torch.zeros(shape, device="meta", dtype=getattr(torch, port.dtype))


def _declare(model: ir.Model, ports: Ports, purpose: str) -> None:
    for value, port in zip(model.graph.outputs, ports.outputs, strict=True):
        if value.dtype != DTYPES[port.dtype]:
            raise RuntimeError(f"the traced output {port.name} is {value.dtype}, expected {port.dtype}")
        value.name, value.shape = port.name, ir.Shape(port.shape)
    meanings = {port.name: port.meaning for port in (*ports.inputs, *ports.outputs)}
    model.graph.doc_string = "\n".join([purpose, *describe_ports(model.graph, meanings)])
    model.ir_version, model.producer_name, model.producer_version = IR_VERSION, "clasp-trt", None
    for node in model.graph:  # stack traces of the machine that traced
        node.metadata_props.clear()
        node.doc_string = None
    for value in model.graph.initializers.values():
        value.metadata_props.clear()
    model.metadata_props.clear()
    model.graph.metadata_props.clear()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the tracer's chatter out of the user's terminal; what it raises still passes."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def on_meta(build: Any, *args: Any, dtype: str) -> Any:
    """Calls ``build(*args)`` on the meta device, floats in ``dtype``.

    A buffer has values, and becomes a constant of the trace, only if the module names its device itself.
    """
    with torch.device("meta"):
        module = build(*args)
    return module.to(getattr(torch, dtype)).eval()
