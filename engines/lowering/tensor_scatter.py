"""``TensorScatter`` (opset 24) as ``ScatterND``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from clasp_trt.engines.lowering.rewriting import Lowering, Scope, const, expect, given, replace


class LowerTensorScatter(Lowering):
    """Replaces each cache update by a ``ScatterND`` of rows.

    It knows linear ``TensorScatter`` on axis -2 of caches ``[slots, heads, capacity, head_dim]`` of known ``heads``,
    with a write index for each slot. All updates of a graph share one index tensor for each number of heads.
    """

    op_type = "TensorScatter"

    def check(self, node: ir.Node) -> None:
        cache, update, write_index = (*node.inputs, None)[:3]
        shape = None if cache is None else cache.shape
        has_all = update is not None and write_index is not None
        expect(shape is not None and has_all, node, "lacks an input or the shape of its cache")
        attributes = node.attributes
        is_linear = attributes.get_string("mode", "linear") == "linear" and attributes.get_int("axis", -2) == -2
        expect(is_linear, node, "is not a linear update of axis -2")
        sizes = [] if shape is None else list(shape)
        is_known = len(sizes) == 4 and isinstance(sizes[1], int)
        expect(is_known, node, f"has a cache of unknown heads: {shape}")

    def rewrite(self, scope: Scope, nodes: Sequence[ir.Node]) -> None:
        indices: dict[int, ir.Value] = {}
        for node in nodes:
            cache, update, write_index = given(*node.inputs)
            heads = _heads(cache)
            tape = Tape()
            if heads not in indices:
                indices[heads] = _rows(tape, update, write_index, heads)
            replace(scope, node, tape, tape.op("ScatterND", [cache, indices[heads], update]))


def _heads(cache: ir.Value) -> int:
    assert cache.shape is not None
    heads = cache.shape[1]
    assert isinstance(heads, int)
    return heads


def _rows(tape: Tape, update: ir.Value, write_index: ir.Value, heads: int) -> ir.Value:
    """Index tuples ``(slot, head, write_index + i)`` of the rows of an update: ``[slots, heads, sequence, 3]``."""
    slots, sequence = (tape.op("Shape", [update], {"start": axis, "end": axis + 1}) for axis in (0, 2))
    first = tape.op("Reshape", [write_index, const(tape, [-1, 1, 1, 1])])
    places = tape.op("Add", [first, _counted(tape, sequence, [1, 1, -1, 1])])
    shape = tape.op("Concat", [slots, const(tape, [heads]), sequence, const(tape, [1])], {"axis": 0})
    parts = [
        tape.op("Expand", [_counted(tape, slots, [-1, 1, 1, 1]), shape]),
        tape.op("Expand", [const(tape, np.arange(heads).reshape(1, heads, 1, 1)), shape]),
        tape.op("Expand", [places, shape]),
    ]
    return tape.op("Concat", parts, {"axis": 3})


def _counted(tape: Tape, size: ir.Value, shape: list[int]) -> ir.Value:
    """0, 1, 2 and so on below ``size``, in ``shape``."""
    steps = tape.op("Range", [const(tape, 0), tape.op("Squeeze", [size]), const(tape, 1)])
    return tape.op("Reshape", [steps, const(tape, shape)])
