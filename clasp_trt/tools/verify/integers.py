"""The integers that the graphs of a calibrated bundle hold, read back from whatever form they were lowered to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from clasp_trt.bundle import Bundle
from clasp_trt.errors import BundleError

_PACKED, _SCALE = "_by_output", "_scale"
"""What a name ends with where the tensor was laid out anew, and the names of scales before that. Matrices that lie side
by side in a tensor have their names joined by ``+``."""


@dataclass(frozen=True, eq=False)
class Found:
    """The matrix ``key`` of a graph, outputs and inputs of ``shape``, as a
    :class:`~clasp_trt.export.weights.packing.Packing` that is read when it is asked for: the outputs from ``first`` on
    of ``tensor`` and ``scale``. These are ``[inputs, outputs]`` and ``[blocks, outputs]`` as an export writes them, or,
    where ``is_packed``, those of a ``MatMulNBits``."""

    key: str
    shape: tuple[int, int]
    first: int
    tensor: ir.TensorProtocol
    scale: ir.TensorProtocol
    is_packed: bool
    has_zeros: bool = False
    order: None = None
    by_input: bool = False

    @property
    def bits(self) -> int:
        # no other than integers of 4 bits have been packed by output in blocks
        return 4 if self.is_packed or self.tensor.dtype == ir.DataType.INT4 else 8

    @property
    def block(self) -> int | None:
        return None if len(self.scale.shape) == 1 else self.shape[1] * self._outputs // self.scale.size

    def values(self, dtype: str) -> NDArray[np.int8]:
        raw = self.tensor.numpy()
        if not self.is_packed:
            return np.ascontiguousarray(raw[:, self._mine].astype(np.int8).T)
        mine = raw[self._mine]
        halves = np.stack([mine & 0x0F, mine >> 4], axis=-1).reshape(self.shape)
        return (halves.astype(np.int16) - 8).astype(np.int8)

    def scales(self, dtype: str) -> NDArray[Any]:
        raw = self.scale.numpy()
        by_output: NDArray[Any] = raw if self.is_packed or raw.ndim == 1 else raw.T
        return np.ascontiguousarray(by_output[self._mine].reshape(self.shape[0], -1))

    def zeros(self) -> NDArray[np.int8]:
        raise ValueError(f"{self.key} is rounded symmetrically")

    @property
    def _mine(self) -> slice:
        return slice(self.first, self.first + self.shape[0])

    @property
    def _outputs(self) -> int:
        sizes = self.tensor.shape.numpy()
        return sizes[0] if self.is_packed else sizes[1]


def integers(bundle: Bundle, shapes: Mapping[str, tuple[int, int]]) -> dict[str, Found]:
    """The matrices of these names and ``shapes``, outputs and inputs, of the decoder's graphs. Raises
    :class:`BundleError` if one is not there as integers of 8 or 4 bits."""
    found = dict[str, Found]()
    for segment in bundle.manifest.segments:
        graph = bundle.graph(segment.graph)
        held = ir.load(bundle.path(graph.path)).graph.initializers
        for stored, value in held.items():
            end = _PACKED if stored.endswith(_PACKED) else ""
            joined = stored.removesuffix(end).split("+")
            scale = held.get("+".join(f"{name}{_SCALE}" for name in joined) + end)
            if scale is None or value.const_value is None or scale.const_value is None:
                continue
            for name in shapes.keys() & {*joined}:
                first = sum(shapes[before][0] for before in joined[: joined.index(name)] if before in shapes)
                found[name] = Found(name, shapes[name], first, value.const_value, scale.const_value, bool(end))
    if missing := [name for name in shapes if name not in found]:
        raise BundleError(
            f"{bundle.root}: its graphs hold no integers of {missing[0]}, which its rounding.json has; build it again"
        )
    return found
