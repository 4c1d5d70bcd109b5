"""Rewrites for consumers that know less than :data:`clasp_trt.targets.PORTABLE_OPSET`: one pass, one file."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir

from clasp_trt.engines.lowering.tensor_scatter import lower_tensor_scatter


def lower_file(path: Path, opset: int) -> None:
    """Rewrites the ONNX file ``path`` in place for ``opset``; its weights stay in the files where they are.

    Needs: a graph at opset 24, and ``opset`` 23 or 24. Ensures: the file passes onnx.checker at ``opset`` and has the
    same ports; one at ``opset`` or below is not touched.
    """
    if opset not in (23, 24):
        raise ValueError(f"opset {opset} is not one that graphs can be lowered to, expected 23 or 24")
    model = ir.load(path)
    if model.graph.opset_imports[""] <= opset:
        return
    lower_tensor_scatter(model.graph)
    # every other operator in use is the same in 23, or has only gained types there that we do not use
    model.graph.opset_imports[""] = opset
    for function in model.functions.values():
        function.opset_imports[""] = opset
    staged = path.with_suffix(".lowered")
    ir.save(model, staged)
    staged.replace(path)
    onnx.checker.check_model(str(path), full_check=True)
