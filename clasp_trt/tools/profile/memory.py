"""Resident memory of this process, as Linux counts it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_STATUS = Path("/proc/self/status")


class Memory(NamedTuple):
    """Bytes in RAM now, and the most there ever were since the process began.

    Both count all pages that the process touched and the kernel still holds for it: weights that are mapped from a file
    too, which the kernel may drop and read again. What was swapped out does not count.
    """

    resident: int
    peak: int


def memory() -> Memory:
    """What ``/proc`` says of this process.

    Not ``getrusage``: its maximum survives exec, so a child would report the peak of a large parent.
    """
    fields = dict(line.split(":", 1) for line in _STATUS.read_text(encoding="ascii").splitlines())
    resident, peak = (int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return Memory(resident, peak)
