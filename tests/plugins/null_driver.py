"""``cuda.bindings.driver`` without a device: it computes nothing and writes down what it is asked.

It has the functions that a launcher may use and no other: one that allocates or waits would be an AttributeError.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum
from typing import Any


class CUresult(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_IMAGE = 200
    CUDA_ERROR_LAUNCH_FAILED = 719


class CUdevice_attribute(IntEnum):  # CUDA's own name
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76


class CUfunction_attribute(IntEnum):
    CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8


OK = CUresult.CUDA_SUCCESS


class NullDriver:
    """A driver of CUDA ``version`` with a device of capability ``sm``; ``log`` has what it was asked, a line each.

    ``failing`` names a function that fails from its first call on.
    """

    CUdevice_attribute = CUdevice_attribute
    CUfunction_attribute = CUfunction_attribute

    def __init__(self, sm: str = "8.9", version: int = 13000, failing: str = "") -> None:
        self.log: list[str] = []
        self.failing = failing
        self._sm = [int(part) for part in sm.split(".")]
        self._version = version
        self._libraries = 0

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("cu") and name == object.__getattribute__(self, "failing"):
            return lambda *arguments: (CUresult.CUDA_ERROR_LAUNCH_FAILED,)
        return object.__getattribute__(self, name)

    def cuDriverGetVersion(self) -> tuple[CUresult, int]:
        return OK, self._version

    def cuCtxGetDevice(self) -> tuple[CUresult, int]:
        return OK, 0

    def cuDeviceGetAttribute(self, attribute: CUdevice_attribute, device: int) -> tuple[CUresult, int]:
        return OK, self._sm[attribute - CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR]

    def cuLibraryLoadData(self, code: bytes, *options: object) -> tuple[CUresult, int]:
        assert options == ([], [], 0, [], [], 0)
        if not code.startswith(b"\x7fELF"):
            return CUresult.CUDA_ERROR_INVALID_IMAGE, 0
        self._libraries += 1
        self.log.append(f"cuLibraryLoadData {code.decode()}")
        return OK, self._libraries

    def cuLibraryUnload(self, library: int) -> tuple[CUresult]:
        self.log.append(f"cuLibraryUnload {library}")
        return (OK,)

    def cuLibraryGetKernel(self, library: int, name: bytes) -> tuple[CUresult, str]:
        self.log.append(f"cuLibraryGetKernel {library} {name.decode()}")
        return OK, name.decode()

    def cuKernelGetFunction(self, kernel: str) -> tuple[CUresult, str]:
        return OK, kernel

    def cuFuncSetAttribute(self, function: str, attribute: int, value: int) -> tuple[CUresult]:
        self.log.append(f"cuFuncSetAttribute {function} {int(attribute)} {value}")
        return (OK,)

    def cuLaunchKernel(self, function: str, *numbers: int) -> tuple[CUresult]:
        *sizes, stream, arguments, extra = numbers
        assert extra == 0
        count = int(function.rpartition("_")[2])
        addresses = (ctypes.c_void_p * count).from_address(arguments)
        values = [ctypes.c_uint64.from_address(address or 0).value for address in addresses]
        told = (*map(str, sizes), hex(stream), *map(hex, values))
        self.log.append(f"cuLaunchKernel {function} {' '.join(told)}")
        return (OK,)
