"""The memory that this process's children take, and theirs: what a machine must have for a command."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

_SAMPLE_S = 0.1
_KB = 1024


class TreeMemory:
    """While entered, samples every process that descends from this one; the peaks are bytes.

    ``anonymous`` is the greatest sum of what a machine must have. ``resident`` adds pages of mapped files, such as
    weights, which the kernel may drop when memory gets short: the greatest sum, or the mark of one process if that is
    higher, so that no peak between two samples is missed in what is one process.
    """

    def __init__(self) -> None:
        self.anonymous = self.resident = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> TreeMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(_SAMPLE_S):
            found = list(_descendants(os.getpid()))
            self.anonymous = max(self.anonymous, sum(each["RssAnon"] + each["RssShmem"] for each in found))
            resident = max(sum(each["VmRSS"] for each in found), *(each["VmHWM"] for each in found), 0)
            self.resident = max(self.resident, resident)


def _descendants(root: int) -> Iterator[dict[str, int]]:
    """The fields of ``/proc/*/status`` that are numbers, sizes in bytes, of every process below ``root``."""
    parents, fields = dict[int, int](), dict[int, dict[str, int]]()
    for path in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError, ValueError, KeyError):  # it may end while it is read
            found = dict(_numbers(path.read_text(encoding="ascii", errors="replace")))
            parents[found["Pid"]] = found["PPid"]
            if "VmRSS" in found:  # else a thread of the kernel, or one that has ended
                fields[found["Pid"]] = found
    for process, found in fields.items():
        ancestor = parents[process]
        while ancestor in parents and ancestor != root:
            ancestor = parents[ancestor]
        if ancestor == root:
            yield found


def _numbers(status: str) -> Iterator[tuple[str, int]]:
    for line in status.splitlines():
        name, _, value = line.partition(":\t")
        words = value.split()
        if words and words[0].isdigit():
            yield name, int(words[0]) * (_KB if words[-1] == "kB" else 1)
