"""Weights as integers and scales, wherever those come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


class Packing(Protocol):
    """A matrix whose weight ``[output, input]`` is ``(value - zero) * scale`` of its block of inputs.

    Everything is computed when it is asked for, and kept by nobody. ``key`` is the name on disk, ``bits`` are 4 or 8,
    ``block`` is how many inputs of an output share a scale, None for all. ``by_input``: the matrix is stored as
    ``[inputs, outputs]``, and not the other way round. ``order``: the inputs of the weight in the order in which the
    packing has them, int64 ``[inputs]``, so that those that share a scale are a run; None if that is their own.
    """

    @property
    def key(self) -> str: ...
    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""

    @property
    def bits(self) -> int: ...
    @property
    def block(self) -> int | None: ...
    @property
    def by_input(self) -> bool: ...
    @property
    def has_zeros(self) -> bool: ...
    @property
    def floating(self) -> bool:
        """Whether values are of FP8 (E4M3) and scales in float32, and not integers."""

    @property
    def order(self) -> NDArray[np.int64] | None: ...
    def values(self, dtype: str) -> NDArray[Any]:
        """``[outputs, inputs]``, signed, one integer a byte, for scales in ``dtype``."""

    def scales(self, dtype: str) -> NDArray[Any]:
        """``[outputs, blocks]`` in ``dtype``, the graph's name of a float type."""

    def zeros(self) -> NDArray[np.int8]:
        """``[outputs, blocks]``, where there are any: a symmetric packing has none."""


def blocks(packing: Packing) -> int:
    """How many scales an output has."""
    return 1 if packing.block is None else packing.shape[1] // packing.block


def nbytes(packing: Packing, float_bytes: int) -> int:
    """Bytes of integers and scales, and of the zeros."""
    (outputs, inputs), scales = packing.shape, packing.shape[0] * blocks(packing)
    zeros = scales * packing.bits // 8 if packing.has_zeros else 0
    return outputs * inputs * packing.bits // 8 + scales * (4 if packing.floating else float_bytes) + zeros


def unpacked(packing: Packing, dtype: str, computed: str | None = None) -> torch.Tensor:
    """The weights that a packing with scales in ``dtype`` stands for, as they are laid out on disk, in the type
    ``computed`` (default: ``dtype``)."""
    import torch

    outputs, inputs = packing.shape
    if packing.floating:
        wide = packing.values(dtype).astype(np.float32).reshape(outputs, blocks(packing), -1)
        products = wide * packing.scales(dtype)[..., None]
        return torch.from_numpy(products.reshape(outputs, inputs)).to(getattr(torch, computed or dtype))
    values = torch.from_numpy(packing.values(dtype)).view(outputs, blocks(packing), -1)
    if packing.has_zeros:
        values = values.short() - torch.from_numpy(packing.zeros())[..., None]
    floats = getattr(torch, computed or dtype)
    scales = torch.from_numpy(packing.scales(dtype).astype(np.float32)).to(floats)
    matrix = (values.to(floats) * scales[..., None]).view(outputs, inputs)
    if packing.order is not None:
        matrix = matrix[:, torch.from_numpy(np.argsort(packing.order))]
    return matrix.t().contiguous() if packing.by_input else matrix
