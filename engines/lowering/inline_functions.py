"""Model-local functions, put in the place of their calls."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass


def inline_functions(model: ir.Model, keep: Collection[str] = ()) -> bool:
    """Makes ``model`` plugin-free: standard operators alone, no functions, and no name that a plugin could answer to.

    ``keep`` names functions that stay as they are, and so do their calls: those that plugins are to answer to.
    Needs: functions at the opset of the graph. Ensures: neither another function nor a call of one is left, nor the
    import of its domain, nor the ``plugin_namespace`` that a call carried. Returns whether there was such a function.
    """
    doomed = [key for key, function in model.functions.items() if function.name not in keep]
    if not doomed:
        return False
    InlinePass(lambda function: function.name not in keep)(model)
    for key in doomed:
        model.functions.pop(key, None)  # those that nothing called
    for domain in {domain for domain, _, _ in doomed} - {function.domain for function in model.functions.values()}:
        model.graph.opset_imports.pop(domain, None)
    return True
