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
    outputs, inputs = packing.shape
    shape = _oriented(outputs, inputs, inputs_first)
    scaled = (outputs,) if by_output else _oriented(outputs, blocks(packing), inputs_first)

    def lazy(part: str, shape: tuple[int, ...], kind: ir.DataType, read: Callable[[], NDArray[Any]]) -> ir.LazyTensor:
        def made() -> ir.TensorProtocol:
            return _laid_out(read(), shape, inputs_first, kind)

        return ir.LazyTensor(made, dtype=kind, shape=ir.Shape(shape), name=part)

    return Integers(
        values=lazy(name, shape, kind, lambda: packing.values(dtype)),
        scales=lazy(f"{name}_scale", scaled, DTYPES[dtype], lambda: packing.scales(dtype)),
        zeros=lazy(f"{name}_zero_point", scaled, kind, packing.zeros) if packing.has_zeros else None,
        axis=int(inputs_first == by_output),  # that of the outputs, or of the inputs where these are in blocks
        block=packing.block,
    )


def _oriented(outputs: int, others: int, inputs_first: bool) -> tuple[int, int]:
    return (others, outputs) if inputs_first else (outputs, others)


def _laid_out(array: NDArray[Any], shape: tuple[int, ...], inputs_first: bool, kind: ir.DataType) -> ir.TensorProtocol:
    """``array`` ``[outputs, inputs or blocks]`` as a graph holds it, two 4-bit integers in a byte."""
    array = np.ascontiguousarray(array.T if inputs_first else array).reshape(shape)
    if kind != ir.DataType.INT4:
        return ir.Tensor(array, dtype=kind)
    low, high = (array.reshape(-1)[start::2].view(np.uint8) for start in (0, 1))
    packed = low & 0x0F
    packed[: len(high)] |= high << 4
    return ir.PackedTensor(packed, kind, shape=ir.Shape(shape))
