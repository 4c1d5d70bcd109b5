"""The kernels' sources to a cubin: device code of one architecture, with what each kernel needs of a processor."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from clasp_trt.engines.kernels import nvrtc
from clasp_trt.errors import BackendError

ARCHITECTURES = ("8.0", "8.6", "8.7", "8.9", "9.0", "12.0")
"""Compute capabilities that the kernels are compiled for; CUDA 12.6 does not know 12.0."""

MAIN = "clasp.cu"
OPTIONS = ("--std=c++17", "--ptxas-options=-v")


@dataclass(frozen=True)
class KernelResources:
    """What one kernel takes of a multiprocessor: registers per thread, static shared and spilled bytes."""

    registers: int
    shared_bytes: int
    local_bytes: int  # stack frame per thread, in local memory
    spill_bytes: int  # stored to and loaded from local memory


@dataclass(frozen=True)
class Cubin:
    """Device code of every kernel for one architecture (``"8.7"``) and CUDA major release (13)."""

    image: bytes
    architecture: str
    cuda: tuple[int, int]
    resources: Mapping[str, KernelResources]

    @property
    def sha256(self) -> str:
        """The content's name: equal sources, options and compiler give equal bytes."""
        return hashlib.sha256(self.image).hexdigest()


def sources() -> dict[str, str]:
    """The CUDA files of this package by name."""
    folder = files("clasp_trt.engines.kernels")
    found = {item.name: item.read_text() for item in folder.iterdir() if item.name.endswith((".cu", ".cuh"))}
    return dict(sorted(found.items()))


@cache
def compile_kernels(architecture: str, cuda: int | None = None) -> Cubin:
    """Compiles for ``architecture``, one of :data:`ARCHITECTURES`, with the newest NVRTC, or that of major ``cuda``.

    Takes a few seconds and no GPU. Raises :class:`BackendError` when NVRTC is missing or does not know the
    architecture.
    """
    compiler = nvrtc.load(cuda)
    if architecture not in ARCHITECTURES:
        raise BackendError(f"no kernels for compute capability {architecture}, expected one of {ARCHITECTURES}")
    digits = architecture.replace(".", "")
    if int(digits) not in compiler.architectures():
        version = ".".join(str(part) for part in compiler.version)
        raise BackendError(f"NVRTC {version} does not compile for {architecture}: pip install nvidia-cuda-nvrtc")
    image, log = compiler.compile(MAIN, sources(), (f"--gpu-architecture=sm_{digits}", *OPTIONS))
    return Cubin(image, architecture, compiler.version, MappingProxyType(_resources(log)))


def _resources(log: str) -> dict[str, KernelResources]:
    """What ``ptxas -v`` says of each entry."""
    found = {}
    for name, stack, stores, loads, rest in re.findall(
        r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill "
        r"loads\s*(?:ptxas info\s*:)? Used ([^\n]*)",
        log,
        re.DOTALL,
    ):
        registers, shared = re.search(r"(\d+) registers", rest), re.search(r"(\d+) bytes smem", rest)
        assert registers is not None, rest
        found[name] = KernelResources(
            int(registers[1]), int(shared[1]) if shared else 0, int(stack), int(stores) + int(loads)
        )
    return dict(sorted(found.items()))
