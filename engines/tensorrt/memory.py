"""Whether a build fits: engines are built one after the other, so the largest graph decides."""

from __future__ import annotations

from clasp_trt import build_memory
from clasp_trt.bundle import Graph
from clasp_trt.chain import port
from clasp_trt.errors import BackendError


def exhausted(graph: Graph, weights: int) -> str:
    """What to say when building ``graph`` ran out of memory."""
    need = f"building {graph.name} ran out of memory: it needs about {build_memory.peak(weights) / 1e9:.1f} GB"
    return f"{need}; {_remedy(graph, available())}"


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


def check(graph: Graph, weights: int, limit_bytes: int | None) -> None:
    """Raises :class:`BackendError` if building ``graph`` takes more than the limit, or than there is."""
    free = available()
    room, what = (free, "what is available here") if limit_bytes is None else (limit_bytes, "--max-build-memory")
    if room is not None and build_memory.peak(weights) > room:
        told = build_memory.describe(graph.name, weights)
        raise BackendError(f"{told}, more than {what}, {room / 1e9:.1f} GB; {_remedy(graph, room)}")


def _remedy(graph: Graph, room: int | None) -> str:
    """What to cut so that ``graph`` builds in ``room`` bytes: segments are fixed once they are exported."""
    layers = port.layers(each.name for each in graph.inputs)
    if layers > 1:
        gigabytes = "GB" if room is None else build_memory.within(room)
        return f"build or export the checkpoint with --max-build-memory {gigabytes}, which cuts the decoder finer"
    return "close other programs, build on a machine with more, or take --precision fp16, a smaller checkpoint"
