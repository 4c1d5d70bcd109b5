"""The kernels on the host: their own CUDA source, compiled by a C++ compiler against an emulation of a GPU."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clasp_trt.plugins.launch import Launch, Plan
from tests.house import ROOT
from tests.started import own_environment

KERNELS = ROOT / "engines" / "kernels"
EMULATION = Path(__file__).with_name("emulation")
COMPILERS = ("g++", "clang++", "c++")
# -ffp-contract=off: what is not written as a fused multiply-add is none, as for the operators' four roundings
OPTIONS = ("-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-ffp-contract=off")
ARRAY = {"bool": np.bool_, "float32": np.float32, "int64": np.int64}
GUARD = 256  # bytes

Array = NDArray[np.generic]


def compiled(folder: Path, kernels: Path = KERNELS) -> Path:
    """The shared library of the kernels in the folder ``kernels``, made in ``folder``.

    Skips the test where there is no C++ compiler, except under CI, whose purpose this is.
    """
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        reason = f"the kernels' emulation needs one of {', '.join(COMPILERS)}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    library = folder / "emulation.so"
    command = [compiler, *OPTIONS, "-fno-strict-aliasing", "-fPIC", "-shared", "-DCLASP_EMULATION"]
    command += [f"-I{EMULATION}", f"-I{kernels}", *map(str, sorted(EMULATION.glob("*.cpp"))), "-o", str(library)]
    done = subprocess.run(command, env=own_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


class GuardedBuffer:
    """Memory between two guard zones, aligned as the plans ask and not better, all of it noise at first."""

    def __init__(self, size_bytes: int, noise: np.random.Generator) -> None:
        self._memory = noise.integers(0, 256, size_bytes + 3 * GUARD, dtype=np.uint8)
        start = GUARD + (16 - self._memory.ctypes.data - GUARD) % 32
        self.bytes = self._memory[start : start + size_bytes]
        self._zones = (self._memory[:start], self._memory[start + size_bytes :])
        self._before = tuple(zone.copy() for zone in self._zones)

    @property
    def address(self) -> int:
        return self.bytes.ctypes.data

    def check(self, what: str) -> None:
        assert all(map(np.array_equal, self._zones, self._before)), f"a kernel wrote outside of {what}"


@dataclass(frozen=True)
class Emulator:
    """Runs plans. ``library`` is what :func:`compiled` made."""

    library: ctypes.CDLL

    @classmethod
    def load(cls, path: Path) -> Emulator:
        library = ctypes.CDLL(str(path))
        library.emulate.restype = ctypes.c_char_p
        return cls(library)

    def run(
        self, plan: Plan, inputs: Mapping[str, Array], *, seed: int = 0, blocks: int = 3, warps: int = 2
    ) -> dict[str, Array]:
        """The plan's outputs for ``inputs``, with ``blocks`` blocks of ``warps`` warps.

        Everything that a kernel must write is noise before, everything around it is noise that must stay.
        """
        noise = np.random.default_rng(seed)
        workspace = GuardedBuffer(plan.workspace_bytes, noise)
        buffers = {spec.name: GuardedBuffer(spec.size_bytes, noise) for spec in plan.tensors}
        for spec in plan.tensors:
            if not spec.is_output:
                value = np.ascontiguousarray(inputs[spec.name])
                assert (value.dtype, value.shape) == (ARRAY[spec.dtype], spec.shape), spec.name
                buffers[spec.name].bytes[:] = value.reshape(-1).view(np.uint8)
        addresses = {name: buffer.address for name, buffer in buffers.items()}
        for step, launch in enumerate(plan.launches):
            self._launch(launch, launch.bind(addresses, workspace.address), blocks, 32 * warps, seed + step)
        workspace.check("the workspace")
        for name, buffer in buffers.items():
            buffer.check(name)
        for spec in plan.tensors:
            if not spec.is_output:
                assert buffers[spec.name].bytes.tobytes() == np.ascontiguousarray(inputs[spec.name]).tobytes()
        return {
            spec.name: buffers[spec.name].bytes.view(ARRAY[spec.dtype]).reshape(spec.shape)
            for spec in plan.tensors
            if spec.is_output
        }

    def _launch(
        self, launch: Launch, values: tuple[ctypes.c_void_p | ctypes.c_int, ...], blocks: int, threads: int, seed: int
    ) -> None:
        arguments = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        error: bytes | None = self.library.emulate(
            launch.kernel.encode(), arguments, blocks, threads, ctypes.c_size_t(launch.shared_bytes), seed
        )
        assert error is None, f"{launch.kernel}: {error.decode()}" if error else ""
