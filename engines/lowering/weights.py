"""Weights as ONNX Runtime computes with them: a graph's file and the weights beside it, written anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import onnx_ir as ir

from clasp_trt.engines.lowering.blocked_matmul import DOMAIN, LowerBlockedMatMul
from clasp_trt.engines.lowering.channel_matmul import LowerChannelMatMul
from clasp_trt.engines.lowering.integer_gather import LowerIntegerGather
from clasp_trt.engines.lowering.rewriting import Lowering, find, scopes
from clasp_trt.engines.lowering.shared_rows import JoinSharedRows

_INLINE_BYTES = 256
_ALIGNMENT = 1 << 16  # so that a runtime can map large weights
_STAGED = "lowered"


def lower_weights(path: Path, *, products: bool, joins: bool = False) -> bool:
    """Rewrites the ONNX file ``path`` and its weights, ``<name>.data``, in place; whether there was anything to do.

    Rows of a table of integers are gathered before they become floats. With ``products``, which are the CPU's, products
    with integers are of integers on both sides; with ``joins``, those of the same rows become one. What becomes one
    weight is in memory at a time. Files that cannot be lowered stay as they were, which is a bug of ours:
    :class:`onnx_ir.passes.InvariantError`.
    """
    model = ir.load(path)
    integers = any(find(scope, "DequantizeLinear") for scope in scopes(model))
    passes: list[Lowering] = [LowerIntegerGather()] if integers else []
    if joins:
        passes.append(JoinSharedRows())
    if products and integers:
        passes += [LowerBlockedMatMul(), LowerChannelMatMul()]
    changed = [each(model).modified for each in passes]
    if not any(changed):
        return False
    if products and integers:
        model.graph.opset_imports[DOMAIN] = 1
    _write(model, path)
    return True


def _write(model: ir.Model, path: Path) -> None:
    """Writes the model and all of its weights beside ``path``, checks them there, and puts them in its place."""
    staged, data = path.parent / f"{path.stem}.{_STAGED}", f"{path.name}.data"
    staged.mkdir()
    try:
        ir.save(model, staged / path.name, external_data=data, size_threshold_bytes=_INLINE_BYTES, alignment=_ALIGNMENT)
        onnx.checker.check_model(str(staged / path.name), full_check=True)
        (staged / data).replace(path.parent / data)
        (staged / path.name).replace(path)
    finally:
        shutil.rmtree(staged)
