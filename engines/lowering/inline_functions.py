"""Model-local functions, put in the place of their calls."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassResult, PostconditionError, PreconditionError
from onnx_ir.passes.common import InlinePass

from clasp_trt.engines.lowering.rewriting import scopes, told


class InlineFunctions(InPlacePass):
    """Makes a model plugin-free: standard operators alone, no functions, and no name that a plugin could answer to.

    ``keep`` names functions that stay as they are, and so do their calls: those that plugins are to answer to. It asks
    for functions at the opset of the graph. Afterwards there is no other function, no call of one with the
    ``plugin_namespace`` that it carried, and no import of a domain that has none left.
    """

    def __init__(self, keep: Collection[str] = ()) -> None:
        super().__init__()
        self._keep = keep

    def requires(self, model: ir.Model) -> None:
        spoken = model.graph.opset_imports[""]
        for function in model.functions.values():
            found = function.opset_imports.get("", spoken)
            if found != spoken:
                raise PreconditionError(f"function {function.name} is of opset {found}, the graph of {spoken}")

    def call(self, model: ir.Model) -> PassResult:
        doomed = [key for key, function in model.functions.items() if function.name not in self._keep]
        if not doomed:
            return PassResult(model, modified=False)
        InlinePass(lambda function: function.name not in self._keep)(model)
        for key in doomed:
            model.functions.pop(key, None)  # those that nothing called
        for domain in {domain for domain, _, _ in doomed} - {function.domain for function in model.functions.values()}:
            model.graph.opset_imports.pop(domain, None)
        return PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        for function in model.functions.values():
            if function.name not in self._keep:
                raise PostconditionError(f"function {function.name} is left")
        served = {function.domain for function in model.functions.values()} | {""}
        for scope in scopes(model):
            for node in scope:
                if node.domain not in served or (node.domain and node.op_type not in self._keep):
                    raise PostconditionError(f"the call of {node.domain}.{told(node)} is left")
        for domain in model.graph.opset_imports:
            if domain not in served:
                raise PostconditionError(f"domain {domain} is imported, and has no function left")
