"""How fast and how large this machine is: what a plan for target ``cpu`` has instead of a data sheet."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_SIDE = 1536  # of the square matrices that are multiplied: large enough for the full speed, 7 GFLOP
_ROWS, _COLUMNS = 12_288, 8_192  # of the matrix read for bandwidth: 400 MB, far beyond any cache
_REPEATS = 5


@dataclass(frozen=True)
class Machine:
    """``flops`` FLOP/s of an fp32 product, ``bandwidth`` bytes/s of reading, ``memory`` bytes, as measured here."""

    flops: float
    bandwidth: float
    memory: int


def measure() -> Machine:
    """Measures this machine in about a second, with the threads that numpy uses.

    Both figures are the best of several runs: the machine's, not its neighbours'.
    """
    generator = np.random.default_rng(0)
    square = generator.standard_normal((_SIDE, _SIDE), dtype=np.float32)
    product = np.empty_like(square)
    multiply = _best(lambda: np.matmul(square, square, out=product))
    matrix = np.ones((_ROWS, _COLUMNS), dtype=np.float32)
    vector = np.ones(_COLUMNS, dtype=np.float32)
    read = _best(lambda: matrix @ vector)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(2 * _SIDE**3 / multiply, matrix.nbytes / read, memory)


def _best(work: Callable[[], object]) -> float:
    """The shortest time in seconds of several runs of ``work``."""
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
