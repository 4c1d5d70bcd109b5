"""Launches a program: all is made when a shape comes for the first time, so that a launch neither allocates nor waits.

That is what lets a CUDA graph capture it. A launcher belongs to one execution context and, like that, to one thread at
a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.plugins.driver import call
from clasp_trt.plugins.fields import Image
from clasp_trt.plugins.launch import Argument, Int32, Launch, Tensor, Workspace
from clasp_trt.plugins.program import FixedProgram, Program

_MOST_STATIC_SHARED = 48 * 1024  # bytes of shared memory that a kernel gets without asking


SHAPES = 64
"""Shapes whose launches are kept ready at a time: pictures of a conversation, and of the requests around it."""


@dataclass(frozen=True)
class _Ready:
    """A launch with its function, and its arguments in memory that does not move: 8 bytes each, and their addresses."""

    launch: Launch
    function: Any
    values: NDArray[np.uint64]
    addresses: NDArray[np.uint64]


class Launcher:
    """A program loaded into the current CUDA context.

    Raises :class:`RuntimeError` where no cubin is for the device, or the driver refuses one. :meth:`close` unloads it.
    """

    def __init__(self, program: Program, driver: Any) -> None:
        self._program, self._driver = program, driver
        self._library: Any = None
        self._names = (*program.contract.inputs, *program.contract.outputs)
        self._ready = lru_cache(SHAPES)(self._prepared)
        self._shared = dict.fromkeys(program.kernels, _MOST_STATIC_SHARED)  # bytes that a kernel may take
        image = _image(program, driver)
        self._library = call(driver, "cuLibraryLoadData", image.cubin, [], [], 0, [], [], 0)
        try:
            self._functions = {kernel: self._function(kernel) for kernel in program.kernels}
            if isinstance(program, FixedProgram):
                self.prepare(program.tokens, program.keep)
        except BaseException:
            self.close()
            raise

    def prepare(self, tokens: int, keep: int) -> None:
        """Makes the launches where ``keep`` of ``tokens`` stay; they are kept for when they come.

        Raises :class:`ValueError` if the program is not for these.
        """
        self._ready(tokens, keep)

    def __call__(
        self, counts: tuple[int, int], inputs: Sequence[int], outputs: Sequence[int], workspace: int, stream: int
    ) -> None:
        """Enqueues all launches on ``stream``; ``counts`` are the tokens and how many of them stay, the others device
        addresses. Raises :class:`RuntimeError`."""
        addresses = dict(zip(self._names, (*inputs, *outputs), strict=True))
        for ready in self._ready(*counts):
            launch = ready.launch
            for slot, argument in enumerate(launch.arguments):
                if isinstance(argument, Tensor):
                    ready.values[slot] = addresses[argument.name]
                elif isinstance(argument, Workspace):
                    ready.values[slot] = workspace + argument.offset
            call(
                self._driver, "cuLaunchKernel", ready.function, *launch.grid, *launch.block, launch.shared_bytes,
                stream, ready.addresses.ctypes.data, 0,
            )  # fmt: skip

    def close(self) -> None:
        """Unloads the cubin, once."""
        library, self._library = self._library, None
        if library is not None:
            call(self._driver, "cuLibraryUnload", library)

    def _function(self, name: str) -> Any:
        kernel = call(self._driver, "cuLibraryGetKernel", self._library, name.encode())
        # also loads the kernel, which CUDA puts off otherwise, and must not do while a graph is captured
        return call(self._driver, "cuKernelGetFunction", kernel)

    def _prepared(self, tokens: int, keep: int) -> tuple[_Ready, ...]:
        return tuple(self._made_ready(launch) for launch in self._program.at(tokens, keep).launches)

    def _made_ready(self, launch: Launch) -> _Ready:
        function = self._functions[launch.kernel]
        if launch.shared_bytes > self._shared[launch.kernel]:
            most = self._driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            call(self._driver, "cuFuncSetAttribute", function, most, launch.shared_bytes)
            self._shared[launch.kernel] = launch.shared_bytes
        values = np.array([_constant(argument) for argument in launch.arguments], dtype=np.uint64)
        slots = np.arange(len(values), dtype=np.uint64) * np.uint64(values.itemsize)
        return _Ready(launch, function, values, np.uint64(values.ctypes.data) + slots)


def _constant(argument: Argument) -> int:
    """What stands in the 8 bytes of ``argument`` from the start; a kernel reads the low 4 of an int32."""
    return argument.value & 0xFFFFFFFF if isinstance(argument, Int32) else 0


def _image(program: Program, driver: Any) -> Image:
    """The image for the device of the current context: of its capability, or an older one of the same major version."""
    known = call(driver, "cuDriverGetVersion") // 1000
    if known < program.cuda:
        raise RuntimeError(
            f"{program.operator}: its kernels were compiled by CUDA {program.cuda}, but the driver knows CUDA {known}"
        )
    device, attribute = call(driver, "cuCtxGetDevice"), driver.CUdevice_attribute
    major = call(driver, "cuDeviceGetAttribute", attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device)
    minor = call(driver, "cuDeviceGetAttribute", attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device)
    fitting = [image for image in program.images if (major, 0) <= _capability(image) <= (major, minor)]
    if not fitting:
        there = ", ".join(image.sm for image in program.images)
        raise RuntimeError(f"{program.operator}: its kernels are for SM {there}, but the GPU is SM {major}.{minor}")
    return max(fitting, key=_capability)


def _capability(image: Image) -> tuple[int, int]:
    major, minor = image.sm.split(".")
    return int(major), int(minor)
