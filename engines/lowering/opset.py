"""The opset that a model says it speaks, kept honest."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassResult, PostconditionError, PreconditionError

from clasp_trt.engines.lowering.rewriting import Scope, scopes, told

# fmt: off
ONLY_EXTENDED = frozenset({
    "Attention", "Cast", "CastLike", "Constant", "ConstantOfShape", "Conv", "DequantizeLinear", "Identity", "If",
    "Reshape", "Round", "Shape", "Squeeze", "TopK", "Transpose", "Unsqueeze",
})
# fmt: on
"""Operators that from opset 20 to 24 were given more types, some an optional input or attribute, but no new meaning.

A node that uses what was added is refused by onnx.checker at the older opset.
"""


class DeclareOpset(InPlacePass):
    """Declares a model to be of ``opset``, functions included, and of no newer IR version than it needs.

    It asks for a model at ``opset`` or above, without operators that mean something else there, or nothing; what an
    operator was only given later is for onnx.checker to find.
    """

    def __init__(self, opset: int) -> None:
        super().__init__()
        self._opset = opset

    def requires(self, model: ir.Model) -> None:
        made = model.graph.opset_imports[""]
        if made < self._opset:
            raise PreconditionError(f"a model of opset {made} is not to be declared of {self._opset}")
        for scope in scopes(model):
            for node in scope:
                if node.domain == "" and not _same(node.op_type, made, self._opset):
                    raise PreconditionError(f"{told(node)} of opset {made} has no known form in opset {self._opset}")

    def call(self, model: ir.Model) -> PassResult:
        before = (_declared(model), model.ir_version)
        model.graph.opset_imports[""] = self._opset
        for function in model.functions.values():
            function.opset_imports[""] = self._opset
        model.ir_version = min(model.ir_version, self._needed())
        return PassResult(model, modified=before != (_declared(model), model.ir_version))

    def ensures(self, model: ir.Model) -> None:
        if _declared(model) != {self._opset}:
            raise PostconditionError(f"opsets {sorted(_declared(model))} are declared, expected {self._opset} alone")
        if model.ir_version > self._needed():
            raise PostconditionError(f"IR version {model.ir_version} is newer than opset {self._opset} needs")

    def _needed(self) -> int:
        return onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", self._opset)])


def _declared(model: ir.Model) -> set[int]:
    bodies: list[Scope] = [model.graph, *model.functions.values()]
    return {body.opset_imports[""] for body in bodies if "" in body.opset_imports}


def _same(op_type: str, made: int, opset: int) -> bool:
    def since(version: int) -> int | None:
        try:
            return onnx.defs.get_schema(op_type, version, "").since_version
        except onnx.defs.SchemaError:
            return None

    there = since(opset)
    return there is not None and (there == since(made) or op_type in ONLY_EXTENDED)
