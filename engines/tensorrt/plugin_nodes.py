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

Assemble = Callable[[str, int, int, tuple[int, int] | None], Program]
"""The program of an operator by name, of so many iterations, for so many rows; of so many tokens, of which so many
stay, or of any numbers of them (None)."""


def bind_plugins(path: Path, assemble: Assemble) -> tuple[str, ...]:
    """Rewrites the ONNX file ``path`` in place so that each call of an operator of ours is a plugin, and complete.

    Needs: calls with fixed shapes, or with all but the numbers of tokens fixed, whose functions are in the model.
    Ensures: each call has the fields of its program as attributes, and its function is gone, so that TensorRT either
    finds the plugin or refuses the graph. Returns the names of the operators; without any the file is not touched.
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
    attributes, shape = node.attributes, node.inputs[0].shape if node.inputs[0] is not None else None
    batch, tokens = (None, None) if shape is None else shape[:2]
    # what says by an attribute how many stay has fixed sizes; where they vary, the length of an input does
    keep = attributes.get_int("keep") if "keep" in attributes else None
    if not isinstance(batch, int) or not (keep is None or isinstance(tokens, int)):
        raise ValueError(f"{node.op_type} {node.name} has an input that is not known to be of fixed shape")
    counts = (tokens, keep) if isinstance(tokens, int) and keep is not None else None
    program = assemble(node.op_type, attributes.get_int("iterations", 0), batch, counts)
    for name, values in program.fields().items():
        if values.dtype == np.int8:
            # as a tensor: to text the parser adds a zero
            attributes.add(ir.AttrTensor(name, ir.tensor(values, name=name)))
        elif values.size == 1:
            attributes.add(ir.AttrInt64(name, int(values[0])))
        else:
            attributes.add(ir.AttrInt64s(name, values.tolist()))
