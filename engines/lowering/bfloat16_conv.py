"""``Conv`` of bfloat16 (opset 22) as a ``Conv`` of float32."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.tape import Tape

from clasp_trt.engines.lowering.rewriting import Scope, cast, find, replace


def lower_bfloat16_conv(scope: Scope) -> bool:
    """Puts each bfloat16 ``Conv`` between conversions, weights included: older ones know no bfloat16.

    Needs: known types. Ensures: no ``Conv`` of bfloat16 is left. Returns whether there was one.
    """
    nodes = [
        node
        for node in find(scope, "Conv")
        if any(value is not None and value.dtype == ir.DataType.BFLOAT16 for value in node.inputs)
    ]
    for node in nodes:
        tape = Tape()
        wide = [None if value is None else cast(tape, value, ir.DataType.FLOAT) for value in node.inputs]
        replace(scope, node, tape, cast(tape, tape.op("Conv", wide, node.attributes), ir.DataType.BFLOAT16))
    return bool(nodes)
