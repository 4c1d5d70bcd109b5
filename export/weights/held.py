"""Matrices that a checkpoint itself holds as integers: each a :class:`~clasp_trt.export.weights.packing.Packing`.

What is there is kept: no integer, scale or zero point is rounded. Scales that more inputs share than a block of a graph
has are repeated, which is the same matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.errors import CheckpointError
from clasp_trt.export.config import UNQUANTISED
from clasp_trt.export.graph import DTYPES
from clasp_trt.export.weights.eighths import Eighths
from clasp_trt.export.weights.packing import blocks, unpacked
from clasp_trt.export.weights.stored import FLOATS, Tensors, Weight
from clasp_trt.quantization import INT8, Scheme, shared_by

Integers = NDArray[np.uint8]
"""One a byte."""


@dataclass(frozen=True, eq=False)
class Held:
    """A matrix of unsigned integers of ``bits`` bits, ``group`` inputs of an output to a scale and, if there are any,
    to a zero point; without, the middle of the integers is 0.

    ``order`` is that of the inputs whose groups are runs, if they are not as they stand. ``read_values`` gives
    ``[outputs, inputs]``, ``read_zeros`` ``[outputs, groups]`` or None, ``scale`` is stored as
    ``[groups, outputs]``, or the other way round where ``scale_by_output``. Raises :class:`CheckpointError` for groups
    that no block of a graph divides, and scales that are not exact in the type of a graph.
    """

    key: str
    shape: tuple[int, int]
    bits: int
    group: int
    read_values: Callable[[], Integers]
    read_zeros: Callable[[], Integers | None]
    scale: Weight
    scale_by_output: bool = False
    by_input: bool = False
    floating: bool = False
    order: NDArray[np.int64] | None = None

    @cached_property
    def has_zeros(self) -> bool:
        """Whether any zero point is another than the middle."""
        zeros = self.read_zeros()
        return zeros is not None and bool((zeros != self._middle).any())

    @cached_property
    def block(self) -> int | None:
        if self.bits == 8 and self.group == self.shape[1] and not self.has_zeros:
            return None
        block = shared_by(self.group)
        if not block:
            raise CheckpointError(
                f"the tensor {self.key} has a scale for {self.group} inputs, expected a multiple of 16; {UNQUANTISED}"
            )
        return block

    @property
    def scheme(self) -> Scheme:
        return Scheme(self.bits, self.block, self.has_zeros)

    def values(self, dtype: str) -> NDArray[np.int8]:
        values = self.read_values()
        return self._signed(values if self.order is None else values[:, self.order])

    def scales(self, dtype: str) -> NDArray[Any]:
        stored = self.scale.read()
        groups = (stored if self.scale_by_output else stored.t()).contiguous()
        floats = groups.float().numpy()
        found: NDArray[Any] = floats.astype(DTYPES[dtype].numpy())
        if not np.isfinite(floats).all():
            raise CheckpointError(f"the tensor {self.scale.key} holds values that are not finite; take a sound copy")
        if not np.array_equal(found.astype(np.float32), floats):
            other = "fp16 or fp32" if self.scale.dtype == "float16" else "bf16 or fp32"
            raise CheckpointError(
                f"the scales {self.scale.key} are {self.scale.dtype}, which {dtype} does not hold exactly; use "
                f"--precision {other}"
            )
        return self._by_block(found)

    def zeros(self) -> NDArray[np.int8]:
        zeros = self.read_zeros()
        if zeros is None or not self.has_zeros:
            raise ValueError(f"{self.key} is symmetric")
        return self._by_block(self._signed(zeros))

    @property
    def _middle(self) -> int:
        return int(2 ** (self.bits - 1))

    def _signed(self, values: Integers) -> NDArray[np.int8]:
        return np.subtract(values, self._middle, dtype=np.uint8).view(np.int8)

    def _by_block(self, groups: NDArray[Any]) -> NDArray[Any]:
        return groups.repeat(blocks(self) // groups.shape[1], axis=1)


def words(array: NDArray[Any], bits: int) -> Integers:
    """The integers that 32-bit words hold, least significant first: ``[..., words]`` as ``[..., words, 32 / bits]``."""
    octets = np.ascontiguousarray(array, dtype="<i4").view(np.uint8).reshape(*array.shape, 4)
    if bits == 8:
        return octets
    return np.stack([octets & 0x0F, octets >> 4], axis=-1).reshape(*array.shape, 8)


class Module:
    """The tensors of a quantised matrix, whose names on disk begin with ``name`` and a dot."""

    def __init__(self, name: str, tensors: Tensors) -> None:
        self.name, self._tensors = name, tensors

    def find(self, part: str) -> Weight | None:
        return self._tensors.get(f"{self.name}.{part}")

    def part(self, part: str, types: tuple[str, ...], rank: int | None = 2) -> Weight:
        """The tensor ``part``. Raises :class:`CheckpointError` if it is missing or of another type or rank, which None
        leaves open."""
        found = self.find(part)
        if found is None:
            raise CheckpointError(
                f"the checkpoint lacks the tensor {self.name}.{part}, though it has others of this quantised matrix; "
                "download it again"
            )
        if found.dtype not in types or rank not in (None, len(found.shape)):
            raise self.wrong(part, f"{rank or 'any number of'} axes of {' or '.join(types)}")
        return found

    def scale(self, part: str) -> Weight:
        return self.part(part, tuple(FLOATS.values()))

    def wrong(self, part: str, expected: str) -> CheckpointError:
        found = self.find(part)
        assert found is not None
        return CheckpointError(
            f"the tensor {found.key} has type {found.dtype} and shape {list(found.shape)}, but its quantised matrix "
            f"needs {expected}; download it again, or give the repository that it was quantised from"
        )

    def check(self, part: str, shape: tuple[int, ...]) -> None:
        """Raises :class:`CheckpointError` unless the tensor ``part`` has the ``shape``."""
        found = self.find(part)
        if found is not None and found.shape != shape:
            raise self.wrong(part, f"shape {list(shape)}")

    def group(self, inputs: int, groups: int, part: str) -> int:
        """How many inputs share one of the ``groups`` scales of ``part``."""
        if groups < 1 or inputs % groups:
            raise self.wrong(part, f"groups that divide its {inputs} inputs")
        return inputs // groups

    def order(self, part: str, group: int) -> NDArray[np.int64] | None:
        """The inputs in an order in which each ``group`` of them, by the tensor ``part``, is a run (``desc_act``,
        ``actorder``); None if they are as they stand. Raises :class:`CheckpointError` for groups of other sizes."""
        if self.find(part) is None:
            return None
        of = self.part(part, ("I32", "I64"), rank=1).read().numpy()
        runs = np.arange(len(of)) // group
        found = np.argsort(of, kind="stable")
        if not np.array_equal(of[found], runs):
            raise self.wrong(part, f"a group for each input, {group} inputs in each")
        return None if np.array_equal(of, runs) else found.astype(np.int64)


def taken(tensors: Tensors, part: str, read: Callable[[Module], Held], parts: tuple[str, ...]) -> dict[str, Weight]:
    """``tensors`` where each module that has the tensor ``part`` has a ``weight`` that is held by what ``read`` makes
    of it, in place of all of its ``parts``."""
    found = dict(tensors)
    for name in [key.removesuffix(f".{part}") for key in tensors if key.endswith(f".{part}")]:
        held = read(Module(name, tensors))
        for each in parts:
            found.pop(f"{name}.{each}", None)
        weight = Weight(held.key, held.shape, held.scale.dtype, partial(unpacked, held, held.scale.dtype), held)
        found[f"{name}.weight"] = weight
    return found


def schemes(tensors: Tensors) -> Iterator[tuple[str, Scheme]]:
    """The names of what is held by a checkpoint, and how."""
    for name, weight in tensors.items():
        if isinstance(weight.packing, (Held, Eighths)):
            yield name, weight.packing.scheme


def looked_up(tensors: Tensors, name: str) -> Tensors:
    """The table ``name``, of which rows are looked up, as floats unless a graph can hold its integers."""
    table = tensors.get(name)
    if table is None or not isinstance(table.packing, (Held, Eighths)) or table.packing.scheme == INT8:
        return tensors
    return {**tensors, name: replace(table, packing=None)}
