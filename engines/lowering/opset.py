"""The opset that a model says it speaks, kept honest."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from clasp_trt.engines.lowering.rewriting import scopes

# fmt: off
ONLY_EXTENDED = frozenset({
    "Attention", "Cast", "CastLike", "Constant", "ConstantOfShape", "Conv", "Identity", "If", "Reshape", "Round",
    "Shape", "Squeeze", "TopK", "Transpose", "Unsqueeze",
})
# fmt: on
"""Operators that from opset 20 to 24 were given more types, some an optional input or attribute, but no new meaning.

A node that uses what was added is refused by onnx.checker at the older opset.
"""


def declare_opset(model: ir.Model, opset: int) -> None:
    """Declares ``model`` to be of ``opset``, functions included, and of no newer IR version than it needs.

    Needs: a model at ``opset`` or above. Raises ValueError at an operator that means something else there, or nothing;
    what an operator was only given later is for onnx.checker to find.
    """
    made = model.graph.opset_imports[""]
    for scope in scopes(model):
        for node in scope:
            if node.domain == "" and not _same(node.op_type, made, opset):
                raise ValueError(f"{node.op_type} {node.name} of opset {made} has no known form in opset {opset}")
    model.graph.opset_imports[""] = opset
    for function in model.functions.values():
        function.opset_imports[""] = opset
    needed = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])
    model.ir_version = min(model.ir_version, needed)


def _same(op_type: str, made: int, opset: int) -> bool:
    def since(version: int) -> int | None:
        try:
            return onnx.defs.get_schema(op_type, version, "").since_version
        except onnx.defs.SchemaError:
            return None

    there = since(opset)
    return there is not None and (there == since(made) or op_type in ONLY_EXTENDED)
