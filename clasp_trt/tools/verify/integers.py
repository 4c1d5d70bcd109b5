"""The integers that the graphs of a bundle's decoder hold, read back from whatever form they were lowered to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from clasp_trt.bundle import Bundle
from clasp_trt.errors import BundleError

_FLOATING = ir.DataType.FLOAT8E4M3FN
_PACKED, _SCALE, _ZERO = "_by_output", "_scale", "_zero_point"
"""What a name ends with where the tensor was laid out anew, and the names of scales before that. Matrices that lie side
by side in a tensor have their names joined by ``+``."""


@dataclass(frozen=True, eq=False)
class Found:
    """The matrix ``key`` of a graph, outputs and inputs of ``shape``, as a
    :class:`~clasp_trt.export.weights.packing.Packing` that is read when it is asked for: the outputs from ``first`` on
    of ``tensor``, ``scale`` and, if there are any, ``zero``. These are ``[inputs, outputs]`` and ``[blocks, outputs]``
    as an export writes them, or, where ``is_packed``, those of a ``MatMulNBits``."""

    key: str
    shape: tuple[int, int]
    first: int
    tensor: ir.TensorProtocol
    scale: ir.TensorProtocol
    is_packed: bool
    zero: ir.TensorProtocol | None = None
    order: NDArray[np.int64] | None = None
    by_input: bool = False
    floating: bool = False

    @property
    def bits(self) -> int:
        if self.is_packed:
            return 8 * self.tensor.size // (self._outputs * self.shape[1])
        return 4 if self.tensor.dtype == ir.DataType.INT4 else 8

    @property
    def has_zeros(self) -> bool:
        return self.zero is not None

    @property
    def block(self) -> int | None:
        return None if len(self.scale.shape) == 1 else self.shape[1] * self._outputs // self.scale.size

    def values(self, dtype: str) -> NDArray[np.int8]:
        raw = self.tensor.numpy()
        if not self.is_packed:
            return np.ascontiguousarray(raw[:, self._mine].astype(np.int8).T)
        return self._signed(raw[self._mine], self.shape[1])

    def scales(self, dtype: str) -> NDArray[Any]:
        raw = self.scale.numpy()
        by_output: NDArray[Any] = raw if self.is_packed or raw.ndim == 1 else raw.T
        return np.ascontiguousarray(by_output[self._mine].reshape(self.shape[0], -1))

    def zeros(self) -> NDArray[np.int8]:
        if self.zero is None:
            raise ValueError(f"{self.key} is symmetric")
        raw = self.zero.numpy()
        if not self.is_packed:
            return np.ascontiguousarray(raw[:, self._mine].astype(np.int8).T)
        return self._signed(raw[self._mine], self.shape[1] // (self.block or self.shape[1]))

    def _signed(self, octets: NDArray[np.uint8], count: int) -> NDArray[np.int8]:
        """Of bytes by output the first ``count`` integers of each."""
        if self.bits == 4:
            octets = np.stack([octets & 0x0F, octets >> 4], axis=-1)
        by_output = octets.reshape(self.shape[0], -1)[:, :count]
        found: NDArray[np.int8] = (by_output.astype(np.int16) - 2 ** (self.bits - 1)).astype(np.int8)
        return found

    @property
    def _mine(self) -> slice:
        return slice(self.first, self.first + self.shape[0])

    @property
    def _outputs(self) -> int:
        sizes = self.tensor.shape.numpy()
        return sizes[0] if self.is_packed else sizes[1]


def integers(bundle: Bundle, shapes: Mapping[str, tuple[int, int]]) -> dict[str, Found]:
    """Those matrices of these names and ``shapes``, outputs and inputs, that the decoder's graphs hold as integers of 8
    or 4 bits."""
    found = dict[str, Found]()
    for segment in bundle.manifest.segments:
        graph = bundle.graph(segment.graph)
        held = ir.load(bundle.path(graph.path)).graph.initializers
        for stored, value in held.items():
            end = _PACKED if stored.endswith(_PACKED) else ""
            joined = stored.removesuffix(end).split("+")
            scale, zero = (held.get("+".join(f"{name}{part}" for name in joined) + end) for part in (_SCALE, _ZERO))
            if scale is None or value.const_value is None or scale.const_value is None or value.dtype == _FLOATING:
                continue
            for name in shapes.keys() & {*joined}:
                first = sum(shapes[before][0] for before in joined[: joined.index(name)] if before in shapes)
                found[name] = Found(
                    name, shapes[name], first, value.const_value, scale.const_value, bool(end),
                    None if zero is None else zero.const_value, _order(value),
                )  # fmt: skip
    return found


def all_integers(bundle: Bundle, shapes: Mapping[str, tuple[int, int]], source: str) -> dict[str, Found]:
    """The same, of which ``source``, of the bundle, says that all are there; :class:`BundleError` otherwise."""
    found = integers(bundle, shapes)
    if missing := [name for name in shapes if name not in found]:
        raise BundleError(
            f"{bundle.root}: its graphs hold no integers of {missing[0]}, which its {source} has; build it again"
        )
    return found


def _order(weight: ir.Value) -> NDArray[np.int64] | None:
    """The order into which the rows that are multiplied by ``weight`` are put, if they are."""
    for node, _ in weight.uses():
        if node.op_type == "DequantizeLinear":
            return _order(node.outputs[0])
        before = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
        order = before.inputs[1] if before is not None and before.op_type == "Gather" else None
        if order is not None and order.const_value is not None:
            return order.const_value.numpy().astype(np.int64)
    return None
