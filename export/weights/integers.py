"""A packed weight as a graph holds it: INT4 or INT8 tensors that are computed and laid out when they are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from clasp_trt.export.graph import DTYPES, Integers
from clasp_trt.export.weights.packing import Packing, blocks


def integers(name: str, packing: Packing, dtype: str, transpose: bool) -> Integers:
    """The weight ``name`` with scales in ``dtype``; ``transpose`` turns what is stored as ``[outputs, inputs]`` into
    ``[inputs, outputs]``."""
    inputs_first, by_output = packing.by_input != transpose, packing.block is None
    kind = ir.DataType.INT4 if packing.bits == 4 else ir.DataType.INT8
    if packing.floating:
        kind = ir.DataType.FLOAT8E4M3FN
    scale_kind = ir.DataType.FLOAT if packing.floating else DTYPES[dtype]
    outputs, inputs = packing.shape
    shape = _oriented(outputs, inputs, inputs_first)
    scaled = (outputs,) if by_output else _oriented(outputs, blocks(packing), inputs_first)

    def lazy(part: str, shape: tuple[int, ...], kind: ir.DataType, read: Callable[[], NDArray[Any]]) -> ir.LazyTensor:
        def made() -> ir.TensorProtocol:
            return _laid_out(read(), shape, inputs_first, kind)

        return ir.LazyTensor(made, dtype=kind, shape=ir.Shape(shape), name=part)

    return Integers(
        values=lazy(name, shape, kind, lambda: packing.values(dtype)),
        scales=lazy(f"{name}_scale", scaled, scale_kind, lambda: packing.scales(dtype)),
        zeros=lazy(f"{name}_zero_point", scaled, kind, packing.zeros) if packing.has_zeros else None,
        axis=int(inputs_first == by_output),  # that of the outputs, or of the inputs where these are in blocks
        block=packing.block,
        order=packing.order,
        cast=DTYPES[dtype] if scale_kind != DTYPES[dtype] else None,
    )


def _oriented(outputs: int, others: int, inputs_first: bool) -> tuple[int, int]:
    return (others, outputs) if inputs_first else (outputs, others)


def _laid_out(array: NDArray[Any], shape: tuple[int, ...], inputs_first: bool, kind: ir.DataType) -> ir.TensorProtocol:
    """``array`` ``[outputs, inputs or blocks]`` as a graph holds it, two 4-bit integers in a byte."""
    if kind != ir.DataType.INT4:
        return ir.Tensor((_turned(array) if inputs_first else np.ascontiguousarray(array)).reshape(shape), dtype=kind)
    octets = array.view(np.uint8)
    if inputs_first and len(octets) % 2 == 0:  # halves first: what is turned are half as many bytes
        packed = _turned(_paired(octets[0::2], octets[1::2])).reshape(-1)
    else:
        flat = (_turned(octets) if inputs_first else np.ascontiguousarray(octets)).reshape(-1)
        packed = _paired(flat[0::2], flat[1::2])
    return ir.PackedTensor(packed, kind, shape=ir.Shape(shape))


def _paired(low: NDArray[np.uint8], high: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bytes of the lower halves of both; of ``high`` there may be one less."""
    packed: NDArray[np.uint8] = low & np.uint8(0x0F)
    packed[: len(high)] |= high << 4
    return packed


def _turned(array: NDArray[Any]) -> NDArray[Any]:
    """The transpose in an order of its own, by torch: four times as fast as numpy where items are bytes."""
    import torch

    size = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}[array.dtype.itemsize]
    turned = torch.from_numpy(np.ascontiguousarray(array).view(size)).t().contiguous()
    found: NDArray[Any] = turned.numpy().view(array.dtype)
    return found
