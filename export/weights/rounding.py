"""Rounding to the nearest integer: a float matrix as a symmetric :class:`~clasp_trt.export.weights.packing.Packing`.

The scale of a block is its greatest magnitude over the greatest integer, in the type of the graph; a weight is the
integer next to it, of two that are as near the even one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.errors import CheckpointError
from clasp_trt.export.graph import DTYPES
from clasp_trt.export.weights.stored import FLOATS, Tensors, Weight
from clasp_trt.notice import tell
from clasp_trt.quantization import DECODER, EMBEDDING, HEAD, PROJECTOR, SMALLEST_BLOCK, VISION, Quantization

if TYPE_CHECKING:
    import torch

_CHUNK = 1 << 18
"""Weights that are float32 at once: so few stay in a core's cache from step to step."""
_ALONE = 1 << 15
"""Weights that torch casts on one thread: to share out more of them, chunk by chunk, waits for busy cores."""

_PARTS: Mapping[str, str] = {
    # what embeds patches and positions is looked up, added or convolved
    r"(?:video\.)?tower\.(?!.*embed).*\.weight": VISION,
    r"projector\..*\.weight": PROJECTOR,
    r"decoder\.layers\..*\.weight": DECODER,
    r"decoder\.embed_tokens\.weight": EMBEDDING,
    r"decoder\.lm_head\.weight": HEAD,
}
"""Patterns of the names that graphs use, and the part that a matrix of such a name belongs to."""


@dataclass(frozen=True, eq=False)
class Rounded:
    """``weight`` rounded to ``bits`` bits. Reading raises :class:`CheckpointError` for a weight that is not finite, or
    whose scale the type of the graph cannot hold. Who asks for the integers and then for the scales, as a writer does,
    has the weight read once."""

    weight: Weight
    bits: int
    block: int | None
    by_input: bool = False
    has_zeros: bool = False
    floating: bool = False
    order: None = None
    _known: dict[str, NDArray[Any]] = field(default_factory=dict, init=False, repr=False)

    @property
    def key(self) -> str:
        return self.weight.key

    @property
    def shape(self) -> tuple[int, int]:
        first, second = self.weight.shape
        return (second, first) if self.by_input else (first, second)

    def scales(self, dtype: str) -> NDArray[Any]:
        known = self._known.pop(dtype, None)
        return (
            np.concatenate([self._scales(rows, dtype) for rows in self._rows(self._matrix())])
            if known is None
            else known
        )

    def values(self, dtype: str) -> NDArray[np.int8]:
        found, done, most, scales = np.empty(self.shape, np.int8), 0, self._most, list[NDArray[Any]]()
        for rows in self._rows(self._matrix()):
            scales.append(self._scales(rows, dtype))
            np.divide(rows, scales[-1].astype(np.float32)[..., None], out=rows)
            np.clip(np.rint(rows, out=rows), -most, most, out=rows)
            found[done : done + len(rows)] = rows.reshape(len(rows), -1)
            done += len(rows)
        self._known[dtype] = np.concatenate(scales)
        return found

    def zeros(self) -> NDArray[np.int8]:
        raise ValueError(f"{self.key} is rounded symmetrically")

    @property
    def _most(self) -> int:
        return int(2 ** (self.bits - 1) - 1)

    def _matrix(self) -> torch.Tensor:
        tensor = self.weight.read()
        return tensor.t() if self.by_input else tensor

    def _rows(self, matrix: torch.Tensor) -> Iterator[NDArray[np.float32]]:
        """Outputs ``[some, blocks, inputs of a block]``, a copy in float32."""
        import torch

        outputs, inputs = self.shape
        some, few = (max(1, size // inputs) for size in (_CHUNK, _ALONE))
        for start in range(0, outputs, some):
            part = matrix[start : start + some]
            rows = torch.empty(part.shape, dtype=torch.float32)
            for at in range(0, len(part), few):
                rows[at : at + few].copy_(part[at : at + few])
            yield rows.numpy().reshape(len(rows), -1, self.block or inputs)

    def _scales(self, rows: NDArray[np.float32], dtype: str) -> NDArray[Any]:
        greatest = np.abs(rows).max(axis=-1)
        if not np.isfinite(greatest).all():
            raise CheckpointError(
                f"the tensor {self.key} holds values that are not finite, which no scale rounds; take a sound copy of "
                "the checkpoint, or leave its part out of --quantize"
            )
        with np.errstate(over="ignore"):
            scales = (greatest / np.float32(self._most)).astype(DTYPES[dtype].numpy())
        if not np.isfinite(scales.astype(np.float32)).all():
            raise CheckpointError(
                f"the tensor {self.key} holds {greatest.max():g}, whose scale is beyond {dtype}; use --precision bf16 "
                "or fp32"
            )
        # of nothing but zeros, or of what is too small to be anything else
        found: NDArray[Any] = np.where(scales == 0, np.ones_like(scales), scales)
        return found


def rounded(tensors: Tensors, quantization: Quantization) -> dict[str, Weight]:
    """Matrices of the parts that are rounded as packings; what is no matrix of such a part, or packed, stays.

    Raises :class:`CheckpointError` for a matrix that cannot be divided into blocks. Where blocks are smaller than what
    was asked for, a :class:`~clasp_trt.notice.Notice` says so.
    """
    found, smaller = dict(tensors), dict[str, tuple[str, int]]()
    for name, weight in tensors.items():
        scheme = quantization.of(part := part_of(name))
        is_matrix = len(weight.shape) == 2 and weight.dtype in FLOATS.values() and weight.packing is None
        if scheme is None or not is_matrix:
            continue
        inputs = weight.shape[1]
        block = scheme.block_for(inputs)
        if block == 0:
            raise CheckpointError(
                f"the tensor {weight.key} has {inputs} inputs, which are no multiple of {SMALLEST_BLOCK}, the smallest "
                f"block of int4; round this part otherwise: --quantize ...,{part}=int8"
            )
        if block != scheme.block:
            smaller.setdefault(part, (weight.key, block or inputs))
        found[name] = replace(weight, packing=Rounded(weight, scheme.bits, block))
    for part, (key, block) in smaller.items():
        asked = quantization.of(part)
        tell(f"{part} {asked}: as these do not divide the inputs of {key} and others, blocks there are {block} or less")
    return found


def part_of(name: str) -> str:
    """The part that a matrix of this name belongs to; empty if it is of none."""
    return next((part for pattern, part in _PARTS.items() if re.fullmatch(pattern, name)), "")
