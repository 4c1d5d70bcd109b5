"""How much memory a build takes, from the weights of its largest graph: engines are built one after the other."""

from __future__ import annotations

from clasp_trt.errors import BackendError

FIXED_BYTES, PER_WEIGHT = 200_000_000, 3.3  # measured: `python -m benchmarks.engine_memory`
CUT = "close other programs, build on a machine with more, or take --precision fp16, a smaller checkpoint"


def estimate(weights: int) -> int:
    """Peak bytes of building a graph with ``weights`` bytes of weights."""
    return round(FIXED_BYTES + PER_WEIGHT * weights)


def exhausted(name: str, weights: int) -> str:
    """What to say when building the graph ``name`` ran out of memory."""
    return f"building {name} ran out of memory: it needs about {estimate(weights) / 1e9:.1f} GB; {CUT}"


def available() -> int | None:
    """Bytes that a new program can have without swapping; None where the kernel does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def check(name: str, weights: int, limit_bytes: int | None) -> None:
    """Raises :class:`BackendError` if building the graph ``name`` takes more than the limit, or than there is."""
    need, free = estimate(weights), available()
    room, what = (free, "what is available here") if limit_bytes is None else (limit_bytes, "--max-build-memory")
    if room is not None and need > room:
        raise BackendError(
            f"building {name} takes about {need / 1e9:.1f} GB ({FIXED_BYTES / 1e9:.1f} GB + {PER_WEIGHT} x its "
            f"{weights / 1e9:.1f} GB of weights), more than {what}, {room / 1e9:.1f} GB; {CUT}"
        )
