"""What a run was measured on: the CPU, and which of its instructions matter to products of integers."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_FLAGS = {
    "avx2": ("avx2",),
    "avx512": ("avx512f",),
    "vnni": ("avx512_vnni", "avx_vnni"),
    "amx": ("amx_tile",),
}


@dataclass(frozen=True)
class Machine:
    """A CPU by its own name, how many of its cores this process may use, and which :data:`_FLAGS` it has."""

    cpu: str
    cores: int
    features: dict[str, bool]


def features(cpuinfo: str) -> dict[str, bool]:
    """Which features the text of ``/proc/cpuinfo`` names."""
    words = {word for line in cpuinfo.splitlines() if line.startswith("flags") for word in line.split()}
    return {name: any(flag in words for flag in flags) for name, flags in _FLAGS.items()}


def machine() -> Machine:
    """This machine (Linux; elsewhere no feature is known)."""
    told = _CPUINFO.read_text(encoding="utf-8") if _CPUINFO.is_file() else ""
    names = [line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(names[0] if names else platform.machine(), cores, features(told))
