"""``TensorScatter`` (opset 24) as ``ScatterND``."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from clasp_trt.engines.lowering.rewriting import Scope, const, find, replace


def lower_tensor_scatter(scope: Scope) -> bool:
    """Replaces each cache update by a ``ScatterND`` of rows.

    Needs: linear ``TensorScatter`` on axis -2 of caches ``[1, heads, capacity, head_dim]`` of known ``heads``. Ensures:
    no ``TensorScatter`` is left. Returns whether there was one. All updates of a graph share one index tensor for each
    number of heads.
    """
    nodes = find(scope, "TensorScatter")
    indices: dict[int, ir.Value] = {}
    for node in nodes:
        cache, update, write_index = node.inputs
        if cache is None or update is None or write_index is None or cache.shape is None:
            raise ValueError(f"TensorScatter {node.name} lacks an input or the shape of its cache")
        if node.attributes.get_string("mode", "linear") != "linear" or node.attributes.get_int("axis", -2) != -2:
            raise ValueError(f"TensorScatter {node.name} is not a linear update of axis -2")
        heads = cache.shape[1]
        if not isinstance(heads, int):
            raise ValueError(f"TensorScatter {node.name} has a cache of unknown heads")
        tape = Tape()
        if heads not in indices:
            indices[heads] = _rows(tape, update, write_index, heads)
        replace(scope, node, tape, tape.op("ScatterND", [cache, indices[heads], update]))
    return bool(nodes)


def _rows(tape: Tape, update: ir.Value, write_index: ir.Value, heads: int) -> ir.Value:
    """Index tuples ``(0, head, write_index + i)`` of the rows of an update: ``[1, heads, sequence, 3]``."""
    sequence = tape.op("Shape", [update], {"start": 2, "end": 3})
    steps = tape.op("Range", [const(tape, 0), tape.op("Squeeze", [sequence]), const(tape, 1)])
    slots = tape.op("Reshape", [tape.op("Add", [steps, write_index]), const(tape, [1, 1, -1, 1])])
    shape = tape.op("Concat", [const(tape, [1, heads]), sequence, const(tape, [1])], {"axis": 0})
    parts = [
        tape.op("Expand", [const(tape, np.zeros((1, 1, 1, 1))), shape]),
        tape.op("Expand", [const(tape, np.arange(heads).reshape(1, heads, 1, 1)), shape]),
        tape.op("Expand", [slots, shape]),
    ]
    return tape.op("Concat", parts, {"axis": 3})
