"""Rewrites for consumers that know less than :data:`clasp_trt.targets.PORTABLE_OPSET`: one pass, one file.

Every pass takes one graph, subgraph or function body, so that a model is lowered scope by scope. What each operator
becomes, and how far the result may be off, is in ``docs/lowering.md``.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from clasp_trt.engines.lowering.attention import lower_attention
from clasp_trt.engines.lowering.bfloat16_conv import lower_bfloat16_conv
from clasp_trt.engines.lowering.float32_matmul import lower_float32_matmul
from clasp_trt.engines.lowering.inline_functions import inline_functions
from clasp_trt.engines.lowering.opset import declare_opset
from clasp_trt.engines.lowering.rewriting import scopes
from clasp_trt.engines.lowering.rms_normalization import lower_rms_normalization
from clasp_trt.engines.lowering.rotary_embedding import lower_rotary_embedding
from clasp_trt.engines.lowering.tensor_scatter import lower_tensor_scatter
from clasp_trt.targets import PORTABLE_OPSET

OLDEST_OPSET = 20

_PASSES = (
    (24, lower_tensor_scatter),
    (23, lower_attention),
    (23, lower_rotary_embedding),
    (23, lower_rms_normalization),
    (22, lower_bfloat16_conv),
)
"""Each with the opset that brought what it removes, the newest first."""


def lower_file(
    path: Path,
    opset: int,
    *,
    decompose_attention: bool = False,
    decompose_float32: bool = False,
    inline: bool = False,
    keep: Collection[str] = (),
) -> bool:
    """Rewrites the ONNX file ``path`` in place for ``opset``; its weights stay in the files where they are.

    Needs: a graph of ours, and ``opset`` 20 to 24. Ensures: the file passes onnx.checker, has the same ports, and is at
    ``opset`` or below; with ``decompose_attention`` it has no ``Attention`` whatever the opset, which TensorRT for RTX
    asks for in float32; with ``decompose_float32`` it has no float32 ``MatMul``; with ``inline`` it has no functions
    but those named in ``keep``, so no other plugin is looked for. Returns whether there was anything to do; if not, the
    file is not touched. A file that can't be lowered stays as it was (ValueError: our bug).
    """
    if not OLDEST_OPSET <= opset <= PORTABLE_OPSET:
        raise ValueError(
            f"opset {opset} is not one that graphs can be lowered to, expected {OLDEST_OPSET} to {PORTABLE_OPSET}"
        )
    model = ir.load(path)
    changed = inline and inline_functions(model, keep)
    passes = [lower for since, lower in _PASSES if opset < since <= model.graph.opset_imports[""]]
    if decompose_attention and lower_attention not in passes:
        passes.append(lower_attention)
    if decompose_float32:
        passes.append(lower_float32_matmul)  # the last: those before it write such products
    if passes:
        ShapeInferencePass()(model)  # sees the shapes of weights, never their values
    for lower in passes:
        for scope in list(scopes(model)):
            changed |= lower(scope)
    if model.graph.opset_imports[""] > opset:
        declare_opset(model, opset)
        changed = True
    if changed:
        _replace(path, model)
    return changed


def _replace(path: Path, model: ir.Model) -> None:
    """Writes ``model`` beside ``path``, checks it there, and puts it in its place."""
    staged = path.with_suffix(".lowered")
    try:
        ir.save(model, staged)
        onnx.checker.check_model(str(staged), full_check=True)
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
