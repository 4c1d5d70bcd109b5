"""A GPU without a GPU: ``cuda.bindings.driver`` over host memory, which checks every call against its contract.

Work is put off as long as the contract allows: it is done when somebody waits for it, and not before. So whoever reads
a result too early, changes what a copy has yet to read, or frees what is still in use gets what they deserve. Addresses
of the device are none of the host's, and its memory begins as garbage.
"""

from __future__ import annotations

import ctypes
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

DEVICE_BASE = 0x7F00_0000_0000_0000
ALIGNMENT = 512
GARBAGE = 0xCD
STREAM, DEVICE, CONTEXT = 0x5712EA, 0, 0xC0


class Violation(AssertionError):
    """A call that breaks the contract of CUDA or TensorRT."""


CODES = Enum(  # type: ignore[misc]
    "CUresult",
    [
        "CUDA_SUCCESS",
        "CUDA_ERROR_INVALID_VALUE",
        "CUDA_ERROR_OUT_OF_MEMORY",
        "CUDA_ERROR_NO_DEVICE",
        "CUDA_ERROR_ILLEGAL_ADDRESS",
        "CUDA_ERROR_NO_BINARY_FOR_GPU",
        "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
        "CUDA_ERROR_SOMETHING_NEW",
    ],
)


class Handle:
    """What the bindings give: an object that is no number, though one can ask it for its own."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __int__(self) -> int:
        return self._value


@dataclass(frozen=True)
class Work:
    """Something that a stream does later. ``name`` is for the tests: ``copy_in``, ``run segment_0``, ..."""

    name: str
    do: Callable[[], None]
    size: int = 0


@dataclass
class Recorded:
    """A graph, or one that is ready to be launched."""

    work: tuple[Work, ...]
    alive: bool = True


@dataclass
class Log:
    """What happened: ``events`` in order, work when it was asked for and ``wait`` when the host waited."""

    events: list[str] = field(default_factory=list)
    bytes_out: int = 0
    bytes_in: int = 0
    allocations: int = 0


class NullCuda:
    """The module. ``memory`` is how many bytes the device has, ``fail`` gives codes for calls to come, by function."""

    def __init__(self, *, sm: str = "8.7", memory: int = 1 << 33) -> None:
        self.CUresult = CODES
        self.CUdevice_attribute = SimpleNamespace(
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR="major", CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR="minor"
        )
        self.CUstream_flags = SimpleNamespace(CU_STREAM_NON_BLOCKING=1)
        self.CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)
        self.log = Log()
        self.fail: dict[str, str] = {}
        self._sm = dict(zip(("major", "minor"), map(int, sm.split(".")), strict=True))
        self._memory = memory
        self._device: dict[int, NDArray[np.uint8]] = {}
        self._pinned: dict[int, NDArray[np.uint8]] = {}
        self._freed: dict[int, int] = {}
        self._next = DEVICE_BASE
        self._current: set[int] = set()  # threads with a context
        self._retained = 0
        self._stream = False
        self._queue: list[Work] = []
        self._capture: list[Work] | None = None
        self._graphs: list[Recorded] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("cu") and (code := object.__getattribute__(self, "fail").get(name)):
            return lambda *arguments: (CODES[code],)
        return object.__getattribute__(self, name)

    # --- what the tests and the null TensorRT ask for

    @property
    def allocated(self) -> int:
        """Bytes of the device in use."""
        return sum(map(len, self._device.values()))

    @property
    def pinned(self) -> int:
        """Bytes of pinned memory in use."""
        return sum(map(len, self._pinned.values()))

    @property
    def capturing(self) -> bool:
        return self._capture is not None

    def left(self) -> list[str]:
        """What was not given back."""
        found = [f"{len(memory)} bytes of the device at {base:x}" for base, memory in self._device.items()]
        found += [f"{len(memory)} pinned bytes at {base:x}" for base, memory in self._pinned.items()]
        found += ["a graph" for graph in self._graphs if graph.alive]
        found += ["the stream"] * self._stream + ["the context"] * self._retained + ["work"] * bool(self._queue)
        return found

    def bytes_at(self, address: int, size: int, what: str) -> NDArray[np.uint8]:
        """``size`` bytes of the device, all of one living allocation."""
        bases = sorted(self._device)
        place = bisect_right(bases, address) - 1
        base = bases[place] if place >= 0 else -1
        if base < 0 or address + size > base + len(self._device[base]):
            gone = any(base <= address < base + length for base, length in self._freed.items())
            raise Violation(f"{what}: {size} bytes at {address:x} are {'freed' if gone else 'not allocated'}")
        return self._device[base][address - base : address - base + size]

    def submit(self, work: Work, stream: object) -> None:
        """Puts work on the stream, or into what is being recorded."""
        if int(stream) != STREAM:  # type: ignore[call-overload]
            raise Violation(f"{work.name} on stream {int(stream)}, which is not ours")  # type: ignore[call-overload]
        if not self._stream:
            raise Violation(f"{work.name} on a stream that is gone")
        self.log.events.append(f"{'record ' if self.capturing else ''}{work.name}")
        (self._queue if self._capture is None else self._capture).append(work)

    # --- the driver

    def cuInit(self, flags: int) -> tuple[Any, ...]:
        return self._ok()

    def cuDeviceGet(self, ordinal: int) -> tuple[Any, ...]:
        return self._ok(Handle(DEVICE))

    def cuDeviceGetName(self, length: int, device: Handle) -> tuple[Any, ...]:
        return self._ok(b"Null GPU".ljust(length, b"\0"))

    def cuDeviceGetAttribute(self, attribute: str, device: Handle) -> tuple[Any, ...]:
        return self._ok(self._sm[attribute])

    def cuDevicePrimaryCtxRetain(self, device: Handle) -> tuple[Any, ...]:
        self._retained += 1
        return self._ok(Handle(CONTEXT))

    def cuDevicePrimaryCtxRelease(self, device: Handle) -> tuple[Any, ...]:
        self._retained -= 1
        return self._ok()

    def cuCtxSetCurrent(self, context: Handle) -> tuple[Any, ...]:
        self._current.add(threading.get_ident())
        return self._ok()

    def cuStreamCreate(self, flags: int) -> tuple[Any, ...]:
        self._in_context("cuStreamCreate")
        if flags != self.CUstream_flags.CU_STREAM_NON_BLOCKING:
            raise Violation("a stream that waits for the default one")
        self._stream = True
        return self._ok(Handle(STREAM))

    def cuStreamDestroy(self, stream: Handle) -> tuple[Any, ...]:
        self._idle("cuStreamDestroy")
        self._stream = False
        return self._ok()

    def cuMemGetInfo(self) -> tuple[Any, ...]:
        self._in_context("cuMemGetInfo")
        return self._ok(self._memory - self.allocated, self._memory)

    def cuMemAlloc(self, size: int) -> tuple[Any, ...]:
        self._in_context("cuMemAlloc")
        self._not_recorded("cuMemAlloc")
        if size <= 0:
            return (CODES["CUDA_ERROR_INVALID_VALUE"],)
        if size > self._memory - self.allocated:
            return CODES["CUDA_ERROR_OUT_OF_MEMORY"], Handle(0)
        base, self._next = self._next, self._next + -(-size // ALIGNMENT) * ALIGNMENT + ALIGNMENT
        self._device[base] = np.full(size, GARBAGE, dtype=np.uint8)
        self.log.allocations += 1
        return self._ok(Handle(base))

    def cuMemFree(self, address: int) -> tuple[Any, ...]:
        self._idle("cuMemFree")
        if address not in self._device:
            raise Violation(f"{address:x} is freed, and was not allocated")
        self._freed[address] = len(self._device.pop(address))
        return self._ok()

    def cuMemHostAlloc(self, size: int, flags: int) -> tuple[Any, ...]:
        self._in_context("cuMemHostAlloc")
        self._not_recorded("cuMemHostAlloc")
        memory = np.full(size, GARBAGE, dtype=np.uint8)
        self._pinned[memory.ctypes.data] = memory
        return self._ok(memory.ctypes.data)

    def cuMemFreeHost(self, address: int) -> tuple[Any, ...]:
        self._idle("cuMemFreeHost")
        del self._pinned[address]
        return self._ok()

    def cuMemcpyHtoDAsync(self, to: int, source: int, size: int, stream: Handle) -> tuple[Any, ...]:
        pinned = self._pinned_at(source, size)
        self.bytes_at(to, size, "copy in")

        def copy() -> None:
            self.bytes_at(to, size, "copy in")[:] = pinned  # what is there by then

        self.log.bytes_in += size
        self.submit(Work("copy_in", copy, size), stream)
        return self._ok()

    def cuMemcpyDtoHAsync(self, to: int, source: int, size: int, stream: Handle) -> tuple[Any, ...]:
        pinned = self._pinned_at(to, size)
        self.bytes_at(source, size, "copy out")

        def copy() -> None:
            pinned[:] = self.bytes_at(source, size, "copy out")

        self.log.bytes_out += size
        self.submit(Work("copy_out", copy, size), stream)
        return self._ok()

    def cuMemcpyDtoDAsync(self, to: int, source: int, size: int, stream: Handle) -> tuple[Any, ...]:
        if abs(to - source) < size:
            raise Violation("a copy onto itself")

        def copy() -> None:
            self.bytes_at(to, size, "copy to")[:] = self.bytes_at(source, size, "copy from")

        self.bytes_at(to, size, "copy to"), self.bytes_at(source, size, "copy from")
        self.submit(Work("copy", copy, size), stream)
        return self._ok()

    def cuMemsetD8Async(self, address: int, value: int, size: int, stream: Handle) -> tuple[Any, ...]:
        def fill() -> None:
            self.bytes_at(address, size, "clear")[:] = value

        self.bytes_at(address, size, "clear")
        self.submit(Work("clear", fill, size), stream)
        return self._ok()

    def cuStreamSynchronize(self, stream: Handle) -> tuple[Any, ...]:
        self._not_recorded("cuStreamSynchronize")
        self.log.events.append("wait")
        queue, self._queue = self._queue, []
        for work in queue:
            work.do()
        return self._ok()

    def cuStreamBeginCapture(self, stream: Handle, mode: int) -> tuple[Any, ...]:
        self._not_recorded("cuStreamBeginCapture")
        self._capture = []
        return self._ok()

    def cuStreamEndCapture(self, stream: Handle) -> tuple[Any, ...]:
        if self._capture is None:
            raise Violation("nothing is being recorded")
        graph, self._capture = Recorded(tuple(self._capture)), None
        self._graphs.append(graph)
        return self._ok(graph)

    def cuGraphInstantiate(self, graph: Recorded, flags: int) -> tuple[Any, ...]:
        ready = Recorded(graph.work)
        self._graphs.append(ready)
        return self._ok(ready)

    def cuGraphDestroy(self, graph: Recorded) -> tuple[Any, ...]:
        return self._dropped(graph)

    def cuGraphExecDestroy(self, graph: Recorded) -> tuple[Any, ...]:
        self._idle("cuGraphExecDestroy")
        return self._dropped(graph)

    def cuGraphLaunch(self, graph: Recorded, stream: Handle) -> tuple[Any, ...]:
        if not graph.alive:
            raise Violation("a graph is launched that was dropped")
        self.log.events.append("launch")
        self._queue += graph.work
        return self._ok()

    # --- its rules

    def _ok(self, *values: Any) -> tuple[Any, ...]:
        return (CODES["CUDA_SUCCESS"], *values)

    def _dropped(self, graph: Recorded) -> tuple[Any, ...]:
        if not graph.alive:
            raise Violation("a graph is dropped twice")
        graph.alive = False
        return self._ok()

    def _in_context(self, what: str) -> None:
        if threading.get_ident() not in self._current:
            raise Violation(f"{what} in a thread without a context")

    def _not_recorded(self, what: str) -> None:
        if self._capture is not None:
            raise Violation(f"{what} while work is recorded")

    def _idle(self, what: str) -> None:
        self._not_recorded(what)
        if self._queue:
            raise Violation(f"{what} while the device has work to do")

    def _pinned_at(self, address: int, size: int) -> NDArray[np.uint8]:
        for base, memory in self._pinned.items():
            if base <= address and address + size <= base + len(memory):
                return memory[address - base : address - base + size]
        raise Violation(f"{size} bytes of the host at {address:x} are not pinned")


def host_int(address: int) -> int:
    """The int64 at an address of the host."""
    return ctypes.c_int64.from_address(address).value


def runs(log: Log) -> Iterator[str]:
    """The graphs of all runs that were asked for, in order."""
    return (event.removeprefix("run ") for event in log.events if event.startswith("run "))
