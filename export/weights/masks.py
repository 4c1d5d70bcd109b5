"""Which weights become zero: those with the least scores, and matrices without them.

A mask is true where a weight goes. Of weights with equal scores the one with the lower input goes first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from clasp_trt.errors import CheckpointError, SparsityError
from clasp_trt.export.weights.rounding import part_of
from clasp_trt.export.weights.stored import FLOATS, Tensors, Weight
from clasp_trt.quantization import DECODER
from clasp_trt.sparsity import Sparsity, zeros_of

if TYPE_CHECKING:
    import torch

_TOGETHER = 1 << 22
"""Weights that are put in order at once: 8 bytes each."""


def least(scores: torch.Tensor, count: int) -> torch.Tensor:
    """The mask of the ``count`` inputs with the least ``scores`` ``[outputs, inputs]`` of every output."""
    import torch

    order = scores.argsort(dim=1, stable=True)[:, :count]
    return torch.zeros(scores.shape, dtype=torch.bool).scatter_(1, order, True)


def patterned(scores: torch.Tensor, pattern: tuple[int, int]) -> torch.Tensor:
    """The mask of the least ``scores`` ``[outputs, inputs]`` of every run of inputs by ``pattern``, which divides
    them."""
    (count, run), shape = pattern, scores.shape
    return least(scores.reshape(-1, run), count).reshape(shape)


def mask(scores: torch.Tensor, sparsity: Sparsity, share: float | None = None) -> torch.Tensor:
    """The mask of a matrix with these ``scores``; ``share`` is its own share of zeros, if it has one."""
    import torch

    count = zeros_of(scores.shape[1], sparsity.share if share is None else share)
    some, found = max(1, _TOGETHER // scores.shape[1]), list[torch.Tensor]()
    for first in range(0, len(scores), some):
        rows = scores[first : first + some]
        found.append(least(rows, count) if sparsity.pattern is None else patterned(rows, sparsity.pattern))
    return torch.cat(found)


class Zeros(Protocol):
    """Says which weights of a matrix go, once that is read."""

    def of(self, tensor: torch.Tensor) -> torch.Tensor: ...


@dataclass(frozen=True)
class ByMagnitude:
    """Those that are the smallest."""

    sparsity: Sparsity

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        return mask(tensor.abs(), self.sparsity)


@dataclass(frozen=True)
class KeptMask:
    """The mask of the matrix ``name`` of a graph, ``[outputs, inputs]`` of ``shape``, which lies in ``folder`` by the
    time it is asked for: a file of numpy, 8 weights a byte."""

    folder: Path
    name: str
    shape: tuple[int, int]

    def keep(self, zeros: torch.Tensor) -> None:
        np.save(self._path, np.packbits(zeros.numpy()))

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        import torch

        bits = np.unpackbits(np.load(self._path), count=self.shape[0] * self.shape[1])
        return torch.from_numpy(bits.astype(bool)).reshape(self.shape)

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.name}.mask.npy"


def masked(tensors: Tensors, zeros: Mapping[str, Zeros]) -> dict[str, Weight]:
    """``tensors`` where each of those that ``zeros`` names is read without its weights that go."""
    return {
        name: replace(weight, read=partial(_masked, weight, zeros[name])) if name in zeros else weight
        for name, weight in tensors.items()
    }


def _masked(weight: Weight, zeros: Zeros) -> torch.Tensor:
    tensor = weight.read()
    if not bool(tensor.isfinite().all()):
        raise CheckpointError(
            f"the tensor {weight.key} holds values that are not finite, of which none is the smallest; take a sound "
            "copy of the checkpoint, or drop --sparsity"
        )
    return tensor.masked_fill(zeros.of(tensor), 0)


def matrices(tensors: Tensors, sparsity: Sparsity) -> Iterator[tuple[str, Weight]]:
    """The matrices of the decoder's layers, by name. Raises :class:`SparsityError` for integers, and for inputs that
    no pattern divides."""
    run = 1 if sparsity.pattern is None else sparsity.pattern[1]
    for name, weight in tensors.items():
        if part_of(name) != DECODER or len(weight.shape) != 2:
            continue
        if weight.packing is not None or weight.dtype not in FLOATS.values():
            raise SparsityError(
                f"--sparsity {sparsity.asked}: the checkpoint's {weight.key} is quantised already, and stays as it "
                "is; give the repository that it was quantised from, with --quantize, or drop --sparsity"
            )
        if weight.shape[1] % run:
            raise SparsityError(
                f"--sparsity {sparsity.asked}: the tensor {weight.key} has {weight.shape[1]} inputs, which are no "
                f"multiple of {run}; give a share, such as --sparsity {float(sparsity.share):g}"
            )
        yield name, weight
