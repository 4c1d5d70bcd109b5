"""``RMSNormalization`` (opset 23) as a mean of squares."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.tape import Tape

from clasp_trt.engines.lowering.rewriting import Scope, cast, const, find, replace


def lower_rms_normalization(scope: Scope) -> bool:
    """Replaces each ``RMSNormalization`` by ``x / sqrt(mean(x^2) + epsilon)`` in float32, times the scale.

    Needs: ``axis`` counted from the end, and the default ``stash_type``, float32. Ensures: no ``RMSNormalization`` is
    left. Returns whether there was one.
    """
    nodes = find(scope, "RMSNormalization")
    for node in nodes:
        x, scale = node.inputs
        axis = node.attributes.get_int("axis", -1)
        if x is None or scale is None or axis >= 0:
            raise ValueError(f"RMSNormalization {node.name} lacks an input or counts its axis from the start")
        if node.attributes.get_int("stash_type", int(ir.DataType.FLOAT)) != int(ir.DataType.FLOAT):
            raise ValueError(f"RMSNormalization {node.name} does not compute in float32")
        tape = Tape()
        wide = cast(tape, x, ir.DataType.FLOAT)
        axes = const(tape, list(range(axis, 0)))
        mean = tape.op("ReduceMean", [tape.op("Mul", [wide, wide]), axes], {"keepdims": 1})
        epsilon = const(tape, node.attributes.get_float("epsilon", 1e-5), ir.DataType.FLOAT)
        root = tape.op("Sqrt", [tape.op("Add", [mean, epsilon])])
        normed = tape.op("CastLike", [tape.op("Div", [wide, root]), x])
        replace(scope, node, tape, tape.op("Mul", [normed, scale]))
    return bool(nodes)
