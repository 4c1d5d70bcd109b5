"""Runs launch plans on a CUDA device through the driver API, with all that a kernel must not rely on made hostile.

The driver's module, ``cuda.bindings.driver``, is passed in: :mod:`tests.gpu.harness.emulated_driver` is one that runs
the kernels on the host, so that what is written here is itself tested where there is no GPU.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.plugins.driver import call
from clasp_trt.plugins.launch import Launch, Plan
from tests.engines.kernels.emulator import ARRAY, Array

GUARD_BYTES = 256
_MOST_STATIC_SHARED = 48 * 1024  # bytes of shared memory that a kernel gets without asking


class GuardedMemory:
    """``size_bytes`` of the device between two guard zones of ``guard`` bytes, all of it noise at first."""

    def __init__(self, driver: Any, size_bytes: int, guard: int, noise: np.random.Generator) -> None:
        self._driver, self._guard, self.size_bytes = driver, guard, size_bytes
        self._before = np.frombuffer(noise.bytes(max(1, size_bytes + 2 * guard)), dtype=np.uint8)
        self._start = int(call(driver, "cuMemAlloc", len(self._before)))
        call(driver, "cuMemcpyHtoD", self._start, self._before.ctypes.data, len(self._before))
        self.address = self._start + guard

    def write(self, value: Array) -> None:
        if value.nbytes:
            call(self._driver, "cuMemcpyHtoD", self.address, value.ctypes.data, value.nbytes)

    def read(self) -> NDArray[np.uint8]:
        """The contents. Raises :class:`AssertionError` where a guard zone has changed."""
        found = np.empty_like(self._before)
        call(self._driver, "cuMemcpyDtoH", found.ctypes.data, self._start, len(found))
        start, end = self._guard, self._guard + self.size_bytes
        for zone in (slice(0, start), slice(end, None)):
            assert np.array_equal(found[zone], self._before[zone]), "a kernel wrote outside of its memory"
        return found[start:end]

    def free(self) -> None:
        call(self._driver, "cuMemFree", self._start)


@dataclass(frozen=True)
class Bound:
    """A plan with its functions and addresses: :meth:`enqueue` launches it, as often as one likes, in any capture."""

    driver: Any
    launches: tuple[tuple[Launch, Any, Any, Any], ...]  # with its function, arguments, and their addresses

    def enqueue(self, stream: int) -> None:
        for launch, function, _, addresses in self.launches:
            call(
                self.driver, "cuLaunchKernel", function, *launch.grid, *launch.block, launch.shared_bytes, stream,
                ctypes.addressof(addresses), 0,
            )  # fmt: skip


class Device:
    """The first CUDA device, with the kernels of ``image``, a cubin, loaded into its primary context (torch's too)."""

    def __init__(self, driver: Any, image: bytes) -> None:
        self._driver = driver
        self._device = open_first(driver)
        context = call(driver, "cuDevicePrimaryCtxRetain", self._device)
        call(driver, "cuCtxSetCurrent", context)
        self._library = call(driver, "cuLibraryLoadData", image, [], [], 0, [], [], 0)

    def bind(self, plan: Plan, addresses: Mapping[str, int], workspace: int) -> Bound:
        """``plan`` on memory of the caller."""
        bound = []
        for launch in plan.launches:
            values = launch.bind(addresses, workspace)
            slots = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
            bound.append((launch, self._function(launch), values, slots))
        return Bound(self._driver, tuple(bound))

    def run(
        self,
        plan: Plan,
        inputs: Mapping[str, Array],
        *,
        seed: int = 0,
        blocks: int | None = None,
        warps: int | None = None,
        guard: int = GUARD_BYTES,
    ) -> dict[str, Array]:
        """The plan's outputs for ``inputs``, on the plan's own grid and blocks unless told otherwise.

        Workspace and outputs are noise before, drawn from ``seed``; around them are ``guard`` bytes of it that must
        stay, as must the inputs. Under a memory checker, which knows where allocations end, ``guard`` is 0.
        """
        noise = np.random.default_rng(seed)
        workspace = GuardedMemory(self._driver, plan.workspace_bytes, guard, noise)
        memory = {spec.name: GuardedMemory(self._driver, spec.size_bytes, guard, noise) for spec in plan.tensors}
        given = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        try:
            for spec in plan.tensors:
                if not spec.is_output:
                    value = given[spec.name]
                    assert (value.dtype, value.shape) == (ARRAY[spec.dtype], spec.shape), spec.name
                    memory[spec.name].write(value)
            shaped = replace(plan, launches=tuple(reshaped(launch, blocks, warps) for launch in plan.launches))
            self.bind(shaped, {name: each.address for name, each in memory.items()}, workspace.address).enqueue(0)
            call(self._driver, "cuStreamSynchronize", 0)
            workspace.read()
            found = {name: each.read() for name, each in memory.items()}
        finally:
            for each in (workspace, *memory.values()):
                each.free()
        for spec in plan.tensors:
            if not spec.is_output:
                assert found[spec.name].tobytes() == given[spec.name].tobytes(), f"a kernel changed input {spec.name}"
        return {
            spec.name: found[spec.name].view(ARRAY[spec.dtype]).reshape(spec.shape)
            for spec in plan.tensors
            if spec.is_output
        }

    def close(self) -> None:
        call(self._driver, "cuLibraryUnload", self._library)
        call(self._driver, "cuDevicePrimaryCtxRelease", self._device)

    def _function(self, launch: Launch) -> Any:
        kernel = call(self._driver, "cuLibraryGetKernel", self._library, launch.kernel.encode())
        function = call(self._driver, "cuKernelGetFunction", kernel)
        if launch.shared_bytes > _MOST_STATIC_SHARED:
            most = self._driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            call(self._driver, "cuFuncSetAttribute", function, most, launch.shared_bytes)
        return function


def open_first(driver: Any) -> Any:
    """The handle of the first device."""
    call(driver, "cuInit", 0)
    return call(driver, "cuDeviceGet", 0)


def reshaped(launch: Launch, blocks: int | None, warps: int | None) -> Launch:
    """``launch`` over another grid and with other blocks, which every kernel allows."""
    grid = launch.grid if blocks is None else (blocks, 1, 1)
    return replace(launch, grid=grid, block=launch.block if warps is None else (32 * warps, 1, 1))
