"""The way between host and device: through pinned memory, so that the host does not wait for a copy to begin."""

from __future__ import annotations

import ctypes
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from clasp_trt.runtime.backends.cuda.driver import Driver

_SMALLEST = 1 << 12


class Staging:
    """Copies in at once and without waiting, copies out after a wait. One wait settles all copies before it."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._free: defaultdict[int, list[int]] = defaultdict(list)
        self._all: list[int] = []
        self._under_way: list[tuple[int, int]] = []  # size and address of memory that a copy may still read
        self._held: list[object] = []

    def put(self, array: NDArray[Any], address: int) -> None:
        """Copies ``array`` to ``address`` on the device; it may be changed as soon as this returns."""
        if array.nbytes == 0:
            return
        size, pinned = self._take(array.nbytes)
        ctypes.memmove(pinned, np.ascontiguousarray(array).ctypes.data, array.nbytes)
        self._driver.copy_in(address, pinned, array.nbytes)
        self._under_way.append((size, pinned))

    def get(self, address: int, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """The array at ``address`` on the device, after all work before is done; the caller's own."""
        array: NDArray[Any] = np.empty(shape, dtype)
        if array.nbytes == 0:
            return array
        size, pinned = self._take(array.nbytes)
        self._driver.copy_out(pinned, address, array.nbytes)
        self._under_way.append((size, pinned))
        self.wait()
        ctypes.memmove(array.ctypes.data, pinned, array.nbytes)
        return array

    def hold(self, thing: object) -> None:
        """Keeps ``thing`` alive until the device has done all that it was asked for."""
        self._held.append(thing)

    def wait(self) -> None:
        """Waits for the device; what was under way is free again."""
        self._driver.wait()
        for size, pinned in self._under_way:
            self._free[size].append(pinned)
        self._under_way.clear()
        self._held.clear()

    def close(self) -> None:
        """Gives the pinned memory back; the device must have been waited for."""
        for pinned in self._all:
            self._driver.free_pinned(pinned)
        self._all.clear()
        self._free.clear()
        self._under_way.clear()

    def _take(self, size: int) -> tuple[int, int]:
        """A power of two of pinned bytes that is large enough, and where they are."""
        size = max(_SMALLEST, 1 << (size - 1).bit_length())
        if not self._free[size]:
            pinned = self._driver.allocate_pinned(size)
            self._all.append(pinned)
            self._free[size].append(pinned)
        return size, self._free[size].pop()
