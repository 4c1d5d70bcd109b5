"""What building an engine takes in memory, and where to cut a decoder so that each of its graphs fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from clasp_trt.errors import BackendError

BASE_BYTES, PER_WEIGHT = 200_000_000, 3.0
"""Peak memory of an engine build: ``BASE_BYTES`` and ``PER_WEIGHT`` times the weights of the graph; mapped files, which
the kernel may drop, not counted. With TensorRT for RTX 1.7 the most that was measured is 2.3 times, in a vision tower
(``python -m benchmarks.engine_memory``); what TensorRT's own builder takes was not seen, so there is room."""

Run = tuple[int, int]
"""The first and the last decoder layer (inclusive) of a graph."""


def peak(weights: int) -> int:
    """Peak bytes of building an engine from a graph of ``weights`` bytes of weights."""
    return BASE_BYTES + round(PER_WEIGHT * weights)


def describe(name: str, weights: int) -> str:
    """The estimate for the graph ``name``, as the beginning of a sentence."""
    return (
        f"building {name} takes about {peak(weights) / 1e9:.1f} GB ({BASE_BYTES / 1e9:g} GB + {PER_WEIGHT:g} x its "
        f"{weights / 1e9:.1f} GB of weights)"
    )


def within(room: int) -> str:
    """The greatest ``--max-build-memory`` that ``room`` bytes allow, to a tenth of a GB."""
    return f"{math.floor(room / 1e8) / 10:g}"


def cut(runs: Iterable[Run], limit: int | None, weigh: Callable[[int, int], int]) -> tuple[Run, ...]:
    """Splits ``runs`` into as few as it takes for each to build within ``limit`` bytes, or to be a single layer.

    ``weigh(first, last)`` are the bytes of weights of these layers as one graph. Without a limit nothing is split.
    """
    if limit is None:
        return tuple(runs)
    finer = list[Run]()
    for first, last in runs:
        for layer in range(first + 1, last + 1):
            if peak(weigh(first, layer)) > limit:
                finer.append((first, layer - 1))
                first = layer
        finer.append((first, last))
    return tuple(finer)


def check_cut(sizes: Mapping[str, int], limit: int | None, precision: str) -> None:
    """Raises :class:`BackendError` if a graph of a decoder cut so fine still takes more than ``limit`` bytes to build.

    ``sizes`` are the bytes of weights of every graph, by name.
    """
    name, weights = max(sizes.items(), key=lambda item: item[1], default=("", 0))
    if limit is not None and peak(weights) > limit:
        enough = math.ceil(peak(weights) / 1e8) / 10
        smaller = ", or take --precision fp16" if precision == "fp32" else ""
        raise BackendError(
            f"{describe(name, weights)}, more than --max-build-memory {limit / 1e9:g}, and cannot be cut finer; "
            f"give at least {enough:g}{smaller}"
        )
