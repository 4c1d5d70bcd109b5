"""What :mod:`tests.gpu` uses of ``cuda.bindings.driver``, on the host: memory is the host's, kernels are emulated.

It stands in for the driver in the tests of the harness. A call that is wrong on a GPU is refused here as well, where
that can be told: memory that was not allocated or is freed twice, a copy beyond its end, a kernel that is not there.
"""

from __future__ import annotations

import ctypes
from enum import Enum, IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.engines.kernels.emulator import Emulator

_ALIGNMENT = 256
_BLOCKS, _THREADS = 4, 128  # at most so many are emulated; the kernels stride over their work by any number


class CUresult(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_NOT_FOUND = 500


OK = CUresult.CUDA_SUCCESS
INVALID = CUresult.CUDA_ERROR_INVALID_VALUE


class EmulatedDriver:
    """A driver with one device of compute capability 9.0 that knows CUDA 13."""

    CUresult = CUresult
    CUdevice_attribute = Enum(
        "CUdevice_attribute",
        {
            "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR": 9,
            "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR": 0,
            "CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT": 132,
            "CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE": 60_000_000,
        },
    )
    CUstream_flags = SimpleNamespace(CU_STREAM_NON_BLOCKING=1)
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)
    CUfunction_attribute = SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES="shared")

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._memory: dict[int, tuple[NDArray[np.uint8], int]] = {}
        self._launches = 0
        self._recorded: list[tuple[Any, ...]] | None = None  # what a capture under way has seen
        self.loaded = 0  # libraries that were not unloaded
        self.retained = 0

    @property
    def allocated(self) -> int:
        """Allocations that were not freed."""
        return len(self._memory)

    def cuInit(self, flags: int) -> tuple[CUresult]:
        return (OK,)

    def cuDriverGetVersion(self) -> tuple[CUresult, int]:
        return OK, 13000

    def cuDeviceGetCount(self) -> tuple[CUresult, int]:
        return OK, 1

    def cuDeviceGet(self, ordinal: int) -> tuple[CUresult, int]:
        return OK, ordinal

    def cuDeviceGetName(self, length: int, device: int) -> tuple[CUresult, bytes]:
        return OK, b"Emulated\0" + b"\0" * (length - 9)

    def cuDeviceTotalMem(self, device: int) -> tuple[CUresult, int]:
        return OK, 2**30

    def cuDeviceGetAttribute(self, attribute: Any, device: int) -> tuple[CUresult, int]:
        return OK, attribute.value

    def cuCtxGetDevice(self) -> tuple[CUresult, int]:
        return OK, 0

    def cuDevicePrimaryCtxRetain(self, device: int) -> tuple[CUresult, int]:
        self.retained += 1
        return OK, 1

    def cuDevicePrimaryCtxRelease(self, device: int) -> tuple[CUresult]:
        self.retained -= 1
        return (OK,)

    def cuCtxSetCurrent(self, context: int) -> tuple[CUresult]:
        return (OK,)

    def cuStreamSynchronize(self, stream: int) -> tuple[CUresult]:
        return (OK,)

    def cuLibraryLoadData(self, image: bytes, *options: Any) -> tuple[CUresult, str]:
        self.loaded += 1
        return OK, "library"

    def cuLibraryUnload(self, library: str) -> tuple[CUresult]:
        self.loaded -= 1
        return (OK,)

    def cuLibraryGetKernel(self, library: str, name: bytes) -> tuple[CUresult, bytes]:
        return OK, name

    def cuKernelGetFunction(self, kernel: bytes) -> tuple[CUresult, bytes]:
        return OK, kernel

    def cuFuncSetAttribute(self, function: bytes, attribute: Any, value: int) -> tuple[CUresult]:
        return (OK,)

    def cuMemAlloc(self, size: int) -> tuple[CUresult, int]:
        if size < 1:
            return INVALID, 0
        memory = np.zeros(size + _ALIGNMENT, dtype=np.uint8)
        address = memory.ctypes.data + -memory.ctypes.data % _ALIGNMENT
        self._memory[address] = memory, size
        return OK, address

    def cuMemFree(self, address: int) -> tuple[CUresult]:
        return (OK,) if self._memory.pop(address, None) else (INVALID,)

    def cuMemcpyHtoD(self, to: int, source: int, size: int) -> tuple[CUresult]:
        return self._copy(to, source, size, on_device=to)

    def cuMemcpyDtoH(self, to: int, source: int, size: int) -> tuple[CUresult]:
        return self._copy(to, source, size, on_device=source)

    def cuStreamCreate(self, flags: int) -> tuple[CUresult, int]:
        return OK, 7

    def cuStreamDestroy(self, stream: int) -> tuple[CUresult]:
        return (OK,)

    def cuStreamBeginCapture(self, stream: int, mode: int) -> tuple[CUresult]:
        self._recorded = []
        return (OK,)

    def cuStreamEndCapture(self, stream: int) -> tuple[CUresult, Any]:
        recorded, self._recorded = self._recorded, None
        return OK, recorded

    def cuGraphInstantiate(self, graph: Any, flags: int) -> tuple[CUresult, Any]:
        return OK, list(graph)

    def cuGraphLaunch(self, graph: Any, stream: int) -> tuple[CUresult]:
        return (max(self.cuLaunchKernel(*call)[0] for call in graph),)

    def cuGraphExecDestroy(self, graph: Any) -> tuple[CUresult]:
        return (OK,)

    def cuGraphDestroy(self, graph: Any) -> tuple[CUresult]:
        return (OK,)

    def cuLaunchKernel(self, function: bytes, *rest: Any) -> tuple[CUresult]:
        if self._recorded is not None:
            self._recorded.append((function, *rest))
            return (OK,)
        blocks, _, _, threads, _, _, shared_bytes, _, addresses, _ = rest
        if not threads % 32 == 0 < blocks * threads:
            return (INVALID,)
        self._launches += 1
        error = self._emulator.library.emulate(
            function, ctypes.c_void_p(int(addresses)), min(blocks, _BLOCKS), min(threads, _THREADS),
            ctypes.c_size_t(shared_bytes), self._launches,
        )  # fmt: skip
        return (OK,) if error is None else (CUresult.CUDA_ERROR_NOT_FOUND,)

    def _copy(self, to: int, source: int, size: int, on_device: int) -> tuple[CUresult]:
        inside = any(
            start <= on_device and on_device + size <= start + held for start, (_, held) in self._memory.items()
        )
        if not inside:
            return (INVALID,)
        ctypes.memmove(to, source, size)
        return (OK,)
