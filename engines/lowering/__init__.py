"""Rewrites for consumers that know less than :data:`clasp_trt.targets.PORTABLE_OPSET`: one pass, one file.

Every pass is an :class:`onnx_ir.passes.InPlacePass` that checks what it asks of a model before it changes anything, and
what it promises afterwards, in all graphs, subgraphs and function bodies. What each operator becomes, and how far the
result may be off, is in ``docs/lowering.md``.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes import PostconditionError
from onnx_ir.passes.common import ShapeInferencePass

from clasp_trt.engines.lowering.attention import LowerAttention
from clasp_trt.engines.lowering.bfloat16_conv import LowerBfloat16Conv
from clasp_trt.engines.lowering.float32_matmul import LowerFloat32MatMul
from clasp_trt.engines.lowering.inline_functions import InlineFunctions
from clasp_trt.engines.lowering.opset import DeclareOpset
from clasp_trt.engines.lowering.rewriting import Lowering
from clasp_trt.engines.lowering.rms_normalization import LowerRMSNormalization
from clasp_trt.engines.lowering.rotary_embedding import LowerRotaryEmbedding
from clasp_trt.engines.lowering.tensor_scatter import LowerTensorScatter
from clasp_trt.targets import PORTABLE_OPSET

OLDEST_OPSET = 20

_PASSES: tuple[tuple[int, type[Lowering]], ...] = (
    (24, LowerTensorScatter),
    (23, LowerAttention),
    (23, LowerRotaryEmbedding),
    (23, LowerRMSNormalization),
    (22, LowerBfloat16Conv),
)
"""Each with the opset that brought what it removes, the newest first."""


def lower_file(
    path: Path,
    opset: int,
    *,
    decompose_float32: bool = False,
    inline: bool = False,
    keep: Collection[str] = (),
) -> bool:
    """Rewrites the ONNX file ``path`` in place for ``opset``; its weights stay in the files where they are.

    ``opset`` is 20 to 24. Afterwards the file passes onnx.checker, has the same ports, and is at ``opset`` or below;
    with ``inline`` it has no functions but those named in ``keep``, so no other plugin is looked for; with
    ``decompose_float32``, which needs ``inline`` where there are functions, it has no float32 ``MatMul``. Returns
    whether there was anything to do; if not, the file is not touched. A file that can't be lowered stays as it was,
    which is a bug of ours: :class:`ValueError`, or :class:`onnx_ir.passes.InvariantError` of the pass that refused.
    """
    if not OLDEST_OPSET <= opset <= PORTABLE_OPSET:
        raise ValueError(
            f"opset {opset} is not one that graphs can be lowered to, expected {OLDEST_OPSET} to {PORTABLE_OPSET}"
        )
    model = ir.load(path)
    ports = _ports(model)
    changed = inline and InlineFunctions(keep)(model).modified
    spoken = model.graph.opset_imports[""]
    wanted = [made() for since, made in _PASSES if opset < since <= spoken]
    if wanted:
        _infer(model)
    for lower in wanted:
        changed |= lower(model).modified
    if decompose_float32:  # the last: those before it write such products
        _infer(model)
        changed |= LowerFloat32MatMul()(model).modified
    if spoken > opset:
        changed |= DeclareOpset(opset)(model).modified
    if changed:
        if _ports(model) != ports:
            raise PostconditionError(f"{path.name} would have other ports than before")
        _replace(path, model)
    return changed


def _infer(model: ir.Model) -> None:
    """Finds out types and shapes; those of weights are seen, their values never."""
    ShapeInferencePass()(model)


def _ports(model: ir.Model) -> list[tuple[str | None, str, str]]:
    """Name, type and shape of each input and output."""
    return [(port.name, str(port.type), str(port.shape)) for port in (*model.graph.inputs, *model.graph.outputs)]


def _replace(path: Path, model: ir.Model) -> None:
    """Writes ``model`` beside ``path``, checks it there, and puts it in its place."""
    staged = path.with_suffix(".lowered")
    try:
        ir.save(model, staged)
        onnx.checker.check_model(str(staged), full_check=True)
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
