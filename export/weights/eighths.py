"""Matrices that a checkpoint holds in FP8: each a :class:`~clasp_trt.export.weights.packing.Packing`."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from clasp_trt.errors import CheckpointError
from clasp_trt.export.weights.stored import Weight
from clasp_trt.quantization import BLOCKS, SMALLEST_BLOCK, Scheme

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Eighths:
    """``weight`` is the matrix in E4M3 as it is stored, ``scale`` its scales, each of ``high`` outputs and ``wide``
    inputs; the last ones are cut off where these do not divide the matrix. Reading raises :class:`CheckpointError` for
    values that are not finite."""

    weight: Weight
    scale: Weight
    high: int
    wide: int
    bits: int = 8
    by_input: bool = False
    has_zeros: bool = False
    floating: bool = True
    order: None = None

    @property
    def key(self) -> str:
        return self.weight.key

    @property
    def shape(self) -> tuple[int, int]:
        outputs, inputs = self.weight.shape
        return outputs, inputs

    @property
    def block(self) -> int | None:
        """0 where no block of a graph divides both the inputs and their runs."""
        if self.wide >= self.shape[1]:
            return None
        block = gcd(gcd(self.wide, self.shape[1]), BLOCKS[0])
        return block if block >= SMALLEST_BLOCK else 0

    @property
    def scheme(self) -> Scheme:
        return Scheme(self.bits, self.block, floating=True)

    def values(self, dtype: str) -> NDArray[Any]:
        """``[outputs, inputs]`` in numpy's E4M3."""
        import torch

        found: NDArray[Any] = self.weight.read().view(torch.uint8).numpy().view(ml_dtypes.float8_e4m3fn)
        if bool(((found.view(np.uint8) & 0x7F) == 0x7F).any()):
            raise self._not_finite(self.weight)
        return found

    def scales(self, dtype: str) -> NDArray[Any]:
        """In float32, whatever the type of the graph."""
        outputs, inputs = self.shape
        block = self.block or inputs
        by_input = self._by_input()[:, ::block] if self.block else self._by_input()[:, :1]
        found: NDArray[Any] = by_input.numpy().repeat(self.high, axis=0)[:outputs]
        return found

    def zeros(self) -> NDArray[np.int8]:
        raise ValueError(f"{self.key} has no zero points")

    def floats(self) -> torch.Tensor:
        """What the matrix stands for, in float32: products that are rounded once."""
        import torch

        found = torch.from_numpy(self.values("float32").astype(np.float32))
        for row, factors in enumerate(self._by_input()):
            found[row * self.high : (row + 1) * self.high] *= factors
        return found

    def _by_input(self) -> torch.Tensor:
        """Scales ``[runs of outputs, inputs]``."""
        import torch

        outputs, inputs = self.shape
        scales = self.scale.read().to(torch.float32).reshape(-(-outputs // self.high), -(-inputs // self.wide))
        if not bool(scales.isfinite().all()):
            raise self._not_finite(self.scale)
        return scales.repeat_interleave(self.wide, dim=1)[:, :inputs]

    def _not_finite(self, weight: Weight) -> CheckpointError:
        return CheckpointError(f"the tensor {weight.key} holds values that are not finite; take a sound copy")
