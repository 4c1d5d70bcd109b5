"""Model-local functions, put in the place of their calls."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass


def inline_functions(model: ir.Model) -> bool:
    """Makes ``model`` plugin-free: standard operators alone, no functions, and no name that a plugin could answer to.

    Needs: functions at the opset of the graph. Ensures: neither a function nor a call of one is left, nor the import of
    its domain, nor the ``plugin_namespace`` that a call carried. Returns whether there was a function.
    """
    domains = {function.domain for function in model.functions.values()}
    InlinePass()(model)
    model.functions.clear()  # those that nothing called
    for domain in domains:
        model.graph.opset_imports.pop(domain, None)
    return bool(domains)
