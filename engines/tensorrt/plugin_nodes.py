"""Nodes of domain ``clasp`` as TensorRT's parser makes plugins of them: with all that the plugin carries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from clasp_trt.operators import DOMAIN
from clasp_trt.plugins import Program
from clasp_trt.plugins.program import OPERATORS

Assemble = Callable[[str, int, int, int, int], Program]
"""The program of an operator by name that keeps ``keep`` in ``iterations`` for ``batch`` rows of ``tokens`` tokens."""


def bind_plugins(path: Path, assemble: Assemble) -> tuple[str, ...]:
    """Rewrites the ONNX file ``path`` in place so that each call of an operator of ours is a plugin, and complete.

    Needs: calls with fixed shapes whose functions are in the model. Ensures: each call has the fields of its program
    as attributes, and its function is gone, so that TensorRT either finds the plugin or refuses the graph. Returns the
    names of the operators; without any the file is not touched.
    """
    model = ir.load(path)
    calls = [node for node in model.graph if node.domain == DOMAIN and node.op_type in OPERATORS]
    if calls:
        ShapeInferencePass()(model)
        for node in calls:
            _bind(node, assemble)
        model.functions.clear()
        ir.save(model, path)
    return tuple(sorted({node.op_type for node in calls}))


def _bind(node: ir.Node, assemble: Assemble) -> None:
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    sizes = [] if shape is None else [size for size in shape[:2] if isinstance(size, int)]
    if len(sizes) != 2:
        raise ValueError(f"{node.op_type} {node.name} has an input that is not known to be of fixed shape")
    batch, tokens = sizes
    attributes = node.attributes
    program = assemble(node.op_type, attributes.get_int("keep"), attributes.get_int("iterations", 0), batch, tokens)
    for name, values in program.fields().items():
        if values.dtype == np.int8:
            # as a tensor: to text the parser adds a zero
            attributes.add(ir.AttrTensor(name, ir.tensor(values, name=name)))
        elif values.size == 1:
            attributes.add(ir.AttrInt64(name, int(values[0])))
        else:
            attributes.add(ir.AttrInt64s(name, values.tolist()))
