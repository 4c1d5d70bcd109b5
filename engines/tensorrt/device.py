"""The GPU of this machine, asked of the driver alone."""

from __future__ import annotations

import ctypes

_DRIVER = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


def cuda_major() -> int | None:
    """The major version of CUDA that the driver knows, such as 12; None without a driver."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return None
    version = ctypes.c_int()
    return None if driver.cuDriverGetVersion(ctypes.byref(version)) else version.value // 1000


def compute_capability() -> str | None:
    """The compute capability of the first CUDA device, such as ``"8.7"``; None without a driver or a device."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return None
    count, value, found = ctypes.c_int(), ctypes.c_int(), []
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return None
    for attribute in (_MAJOR, _MINOR):
        if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, 0):
            return None
        found.append(value.value)
    return f"{found[0]}.{found[1]}"
