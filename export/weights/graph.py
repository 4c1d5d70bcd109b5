"""Weights as a graph holds them: ONNX tensors that are read and laid out when they are written."""

from __future__ import annotations

import math

import onnx_ir as ir
from onnx_ir.tensor_adapters import TorchTensor

from clasp_trt.errors import CheckpointError
from clasp_trt.export.config import UNQUANTISED
from clasp_trt.export.graph import DTYPES, Integers
from clasp_trt.export.weights.integers import integers
from clasp_trt.export.weights.names import Rules, on_disk
from clasp_trt.export.weights.packing import nbytes
from clasp_trt.export.weights.stored import FLOATS, Tensors, Weight


class Weights:
    """The weights under ``prefix``, in the types that the last transform gave them.

    ``rules`` are those by which they were renamed, for errors to name them as on disk. The names of those that were
    asked for are added to ``read``.
    """

    def __init__(self, tensors: Tensors, prefix: str = "", *, read: set[str] | None = None, rules: Rules = ()) -> None:
        self._tensors, self._prefix, self._rules = tensors, prefix, rules
        self._read = set[str]() if read is None else read

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._tensors

    def tensor(self, name: str, shape: tuple[int, ...] | None = None, *, transpose: bool = False) -> ir.LazyTensor:
        """The weight ``name`` as floats; ``transpose`` turns ``[out, in]`` into ``[in, out]``.

        ``shape`` is the shape expected on disk. Raises :class:`CheckpointError` if the weight is missing, differs or
        is quantised; and, once it is read, for what a transform cannot do with its values.
        """
        weight = self._asked(name, shape)
        laid_out = weight.shape[::-1] if transpose else weight.shape
        return ir.LazyTensor(
            lambda: _read(weight, transpose), dtype=DTYPES[weight.dtype], shape=ir.Shape(laid_out), name=name
        )

    def matrix(
        self, name: str, shape: tuple[int, ...] | None = None, *, transpose: bool = False
    ) -> ir.LazyTensor | Integers:
        """The same for what a graph multiplies by or looks rows up in: integers if it is packed."""
        weight = self._asked(name, shape)
        if weight.packing is None:
            return self.tensor(name, shape, transpose=transpose)
        return integers(name, weight.packing, weight.dtype, transpose)

    def _asked(self, name: str, shape: tuple[int, ...] | None) -> Weight:
        """The weight ``name``, which is a float of this shape."""
        weight = self._tensors.get(self._prefix + name)
        if weight is None and self._prefix + name.removesuffix("weight") + "qweight" in self._tensors:
            raise CheckpointError(f"the tensor {self._prefix}{name} is stored packed, as qweight; {UNQUANTISED}")
        if weight is None:
            stored = {other: found.key for other, found in self._tensors.items()}
            expected, like = on_disk(self._prefix + name, stored, self._rules)
            there = "" if like is None else f", though it has {like}"
            raise CheckpointError(
                f"the checkpoint lacks the tensor {expected}{there}; it is incomplete, or not of the model_type that "
                "its config names"
            )
        self._read.add(self._prefix + name)
        if weight.dtype not in FLOATS.values():
            raise CheckpointError(f"the tensor {weight.key} has type {weight.dtype}; {UNQUANTISED}")
        if shape is not None and weight.shape != shape:
            raise CheckpointError(
                f"the tensor {weight.key} has shape {list(weight.shape)}, but config.json says {list(shape)}"
            )
        return weight

    def nbytes(self, start: str) -> int:
        """Bytes of all the weights whose names start with ``start``."""
        found = (weight for name, weight in self._tensors.items() if name.startswith(self._prefix + start))
        return sum(_nbytes(weight) for weight in found if weight.dtype in DTYPES)

    def vector(self, name: str, size: int) -> ir.LazyTensor:
        """A weight of shape ``[size]``."""
        return self.tensor(name, (size,))

    def linear(self, name: str, inputs: int, outputs: int) -> ir.LazyTensor | Integers:
        """The matrix of a linear layer as ``[inputs, outputs]``."""
        return self.matrix(f"{name}.weight", (outputs, inputs), transpose=True)


def _read(weight: Weight, transpose: bool) -> ir.TensorProtocol:
    tensor = weight.read()
    return TorchTensor((tensor.t() if transpose else tensor).contiguous())


def _nbytes(weight: Weight) -> int:
    float_bytes = DTYPES[weight.dtype].bitwidth // 8
    if weight.packing is not None:
        return nbytes(weight.packing, float_bytes)
    return math.prod(weight.shape) * float_bytes
