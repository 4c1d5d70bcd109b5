"""What a launch plan is made of.

A plan is plain data: the kernels of one operator at one static shape, in stream order, with everything that a launch
needs except addresses. TensorRT's plugins, the emulation on the host and the check on a GPU run the same plans.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

ALIGNMENT = 256
"""Bytes to which each part of a workspace is aligned; its start, like bound tensors, needs 16."""

ITEM_BYTES = {"bool": 1, "float32": 4, "int64": 8}
"""Element types of the operators' tensors, and their sizes."""

Dim3 = tuple[int, int, int]


class LaunchError(ValueError):
    """A shape that the kernels do not cover. A bug of whoever plans: a build refuses before what a user may ask."""


@dataclass(frozen=True)
class Tensor:
    """A kernel argument: the device address of the plan's tensor of that name."""

    name: str


@dataclass(frozen=True)
class Workspace:
    """A kernel argument: the address ``offset`` bytes into the workspace."""

    offset: int


@dataclass(frozen=True)
class Int32:
    """A kernel argument: a C ``int``."""

    value: int


Argument = Tensor | Workspace | Int32


@dataclass(frozen=True)
class TensorSpec:
    """A tensor that the caller binds: C-contiguous, aligned to 16 bytes, never the same memory as another."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    is_output: bool

    @property
    def size_bytes(self) -> int:
        return prod(self.shape) * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class Launch:
    """One kernel launch: entry point, grid, block, dynamic shared memory in bytes, arguments in order.

    Any number of blocks along x gives the same result, since each block strides over the work by the grid's size;
    ``grid`` is the number that suits the shape. ``block`` is fixed.
    """

    kernel: str
    grid: Dim3
    block: Dim3
    shared_bytes: int
    arguments: tuple[Argument, ...]

    def bind(self, addresses: Mapping[str, int], workspace: int) -> tuple[ctypes.c_void_p | ctypes.c_int, ...]:
        """The arguments as C values, given the address of each tensor and of the workspace."""
        return tuple(_bound(argument, addresses, workspace) for argument in self.arguments)


@dataclass(frozen=True)
class Plan:
    """The launches of one operator at one shape, to be enqueued in order on one stream.

    ``tensors`` lists inputs, then outputs. The workspace needs no initialisation and holds nothing afterwards.
    """

    tensors: tuple[TensorSpec, ...]
    workspace_bytes: int
    launches: tuple[Launch, ...]

    @property
    def kernels(self) -> tuple[str, ...]:
        """Entry points that the plan launches, each once, in order of first use."""
        return tuple(dict.fromkeys(launch.kernel for launch in self.launches))


class WorkspaceLayout:
    """Hands out aligned parts of a workspace that is still to be sized."""

    def __init__(self) -> None:
        self.size_bytes = 0

    def take(self, size_bytes: int) -> Workspace:
        part = Workspace(self.size_bytes)
        self.size_bytes += -(-size_bytes // ALIGNMENT) * ALIGNMENT
        return part


def _bound(argument: Argument, addresses: Mapping[str, int], workspace: int) -> ctypes.c_void_p | ctypes.c_int:
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(addresses[argument.name])
    if isinstance(argument, Workspace):
        return ctypes.c_void_p(workspace + argument.offset)
    return ctypes.c_int(argument.value)
