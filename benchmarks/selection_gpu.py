"""Time of the selection on a CUDA device, against other implementations of the same function in the same run.

``python -m benchmarks.selection_gpu`` prints what ``make gpu-check`` writes to docs/gpu-results.md. Everyone gets the
same tokens in fp16; those that can be captured are replays of a CUDA graph. Ours get their Gram matrix from torch's
product, as in an engine from TensorRT's. Before each sample a buffer of twice the L2's size is written. That also keeps
the device busy until the whole sample is enqueued: its time is what counts.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clasp_trt.ops import GRAM_STEPS, select, token_gram
from clasp_trt.plugins import launch
from clasp_trt.plugins.launch import Plan

OURS = "clasp-trt"
PAPER_MS = 17.0  # Table 23: 17 to 27 ms
SAME = 0.99
"""Share of the reference's choices from which an implementation computes the same function; rounding may flip a few."""

Work = Callable[[], None]
"""Enqueues one selection on the current stream."""


@dataclass(frozen=True)
class Shape:
    """``pivots`` of the ``keep`` tokens are the most salient."""

    tokens: int
    width: int
    keep: int
    pivots: int


@dataclass(frozen=True)
class Goal:
    words: str
    ms: float


@dataclass(frozen=True)
class Row:
    """``agreement`` is the share of the reference's choices."""

    name: str
    agreement: float
    cold_ms: float
    warm_ms: float


@dataclass(frozen=True)
class Timing:
    """Rows of everyone, ours first; ``absent`` says why others are not among them.

    Peers whose agreement is below ``same`` compute another function.
    """

    name: str
    goals: tuple[Goal, ...]
    rounds: int
    samples: int
    rows: tuple[Row, ...]
    absent: Mapping[str, str] = field(default_factory=dict)
    same: float = SAME

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


LLAVA = Shape(tokens=576, width=4096, keep=192, pivots=134)
LLAVA_NEXT = Shape(tokens=2880, width=4096, keep=320, pivots=224)
GOALS = {
    LLAVA: (Goal("at most 0.05 ms", 0.05), Goal("300 times the paper's 17 ms", PAPER_MS / 300)),
    LLAVA_NEXT: (Goal("at most 0.2 ms", 0.2),),
}
PEERS = (
    ("torch, loop over clusters, eager", "torch", "paper_loop", False),
    ("torch direct, eager", "torch", "direct", False),
    ("torch direct", "torch", "direct", True),
    ("torch Gram, one-hot", "torch", "gram", True),
    ("flash-kmeans, eager", "flash_kmeans", "flash", False),
    ("FAISS, eager", "faiss", "faiss", False),
)
"""Name, the module that it needs, its function in ``selection_peers``, and whether it is replayed from a CUDA graph."""


class Kernels(Protocol):
    """What :class:`tests.gpu.harness.device.Device` offers: a plan on addresses of the caller."""

    def bind(self, plan: Plan, addresses: Mapping[str, int], workspace: int) -> Any: ...


class Bench(Protocol):
    """Where work is done and measured, in ms; ``place`` is torch's name for the device."""

    place: str

    def stream(self) -> int: ...

    def captured(self, work: Work) -> Work: ...

    def cold(self, work: Work) -> float: ...

    def warm(self, work: Work) -> float: ...


def tokens(shape: Shape) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
    """Saliency ``[tokens]`` and tokens ``[tokens, width]``: few things, each shown by several tokens, and noise."""
    rng = np.random.default_rng(shape.tokens)
    things = rng.standard_normal((max(2, shape.keep - shape.pivots), shape.width))
    x = things[rng.integers(0, len(things), shape.tokens)] + 0.5 * rng.standard_normal((shape.tokens, shape.width))
    return rng.random(shape.tokens, dtype=np.float32), x.astype(np.float16)


def places(shape: Shape, saliency: NDArray[np.float32], x: NDArray[np.float16]) -> list[set[int]]:
    """For each token that the reference keeps, which tokens do as well: the members that tie for a cluster's medoid."""
    import torch

    from benchmarks.selection_peers import on_gram

    kept = select(saliency[None], x[None], [shape.pivots], shape.keep)[0][0].tolist()
    steps = torch.from_numpy(token_gram(x[None])[0].astype(np.float64) * GRAM_STEPS)
    start, clusters = on_gram(torch.from_numpy(saliency), steps, shape.pivots, shape.keep)
    closeness = clusters.cosine.masked_fill(~clusters.members, -torch.inf)
    tied = closeness >= closeness.amax(dim=1, keepdim=True) * (1 - 1e-6)
    groups = [set(start.rest[row].tolist()) for row in tied & clusters.members]
    of_medoid = {min(group): group for group in groups if group}
    return [of_medoid.get(token, {token}) for token in kept]


def agreement(kept: Sequence[int], expected: Sequence[set[int]]) -> float:
    """Share of the ``expected`` places that ``kept`` fills."""
    found = set(kept)
    return sum(bool(place & found) for place in expected) / len(expected)


def measure(candidates: Mapping[str, Work], bench: Bench, rounds: int, samples: int) -> dict[str, tuple[float, float]]:
    """Median cold and warm ms by name: ``samples`` of each in ``rounds`` in which all take turns."""
    cold: dict[str, list[float]] = {name: [] for name in candidates}
    warm: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, work in candidates.items():
            for _ in range(max(1, samples // rounds)):
                cold[name].append(bench.cold(work))
                warm[name].append(bench.warm(work))
    return {name: (statistics.median(cold[name]), statistics.median(warm[name])) for name in candidates}


class CudaBench:
    """CUDA events around work that is enqueued while the device is still busy writing a buffer of ``flush_bytes``."""

    place = "cuda"

    def __init__(self, flush_bytes: int) -> None:
        import torch

        self._torch = torch
        self._buffer = torch.empty(flush_bytes, dtype=torch.uint8, device=self.place)
        self._start, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def stream(self) -> int:
        """The handle of torch's current stream."""
        return int(self._torch.cuda.current_stream().cuda_stream)

    def captured(self, work: Work) -> Work:
        """``work`` as a CUDA graph, after the runs that settle what libraries do once."""
        cuda = self._torch.cuda
        side = cuda.Stream()
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):
            for _ in range(3):
                work()
        cuda.current_stream().wait_stream(side)
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            work()
        replay: Work = graph.replay
        return replay

    def cold(self, work: Work) -> float:
        self._flush()
        return self._time(work)

    def warm(self, work: Work) -> float:
        self._flush()
        work()
        return self._time(work)

    def _flush(self) -> None:
        for _ in range(4):  # some 0.2 ms, by which all that follows is enqueued
            self._buffer.add_(1)

    def _time(self, work: Work) -> float:
        self._start.record()
        work()
        self._end.record()
        self._end.synchronize()
        return float(self._start.elapsed_time(self._end))


def time_selection(kernels: Kernels, bench: Bench, shape: Shape, rounds: int, samples: int) -> Timing:
    """Pivots and k-means from tokens in fp16: ours on torch's Gram matrix, and all others that are installed."""
    import torch

    saliency, x = tokens(shape)
    expected = places(shape, saliency, x)
    memory = {
        "saliency": torch.from_numpy(saliency).to(bench.place),
        "visual": torch.from_numpy(x).to(bench.place),
        "pivot_count": torch.tensor([shape.pivots], device=bench.place),
    }
    ours = bench.captured(_ours(kernels, bench, shape, memory))
    others, kept, absent = _peers(bench, shape, memory["saliency"], memory["visual"])
    candidates = {OURS: ours, **others}
    for work in candidates.values():
        work()
    shares = {name: agreement(kept[name].flatten().tolist(), expected) for name in others}
    shares[OURS] = agreement(memory["kept"].flatten().tolist(), expected)
    times = measure(candidates, bench, rounds, samples)
    rows = tuple(Row(name, shares[name], *times[name]) for name in candidates)
    title = f"{shape.tokens} tokens of width {shape.width} in fp16, {shape.keep} kept, {shape.pivots} of them pivots"
    return Timing(title, GOALS.get(shape, ()), rounds, samples, rows, absent)


def _peers(bench: Bench, shape: Shape, saliency: Any, x: Any) -> tuple[dict[str, Work], dict[str, Any], dict[str, str]]:
    """Work of each peer by name, what that kept once it has run, and why others are absent."""
    from benchmarks import selection_peers as peers

    kept: dict[str, Any] = {}

    def selection(name: str, function: str) -> Work:
        select_by = getattr(peers, function)

        def work() -> None:
            kept[name] = select_by(saliency, x, shape.pivots, shape.keep)

        return work

    found: dict[str, Work] = {}
    absent = {"cuVS": "whose k-means has no cosine distance and would compute another function"}
    for name, module, function, is_captured in PEERS:
        if find_spec(module) is None:
            absent[name] = "which is not installed"
            continue
        try:
            work = selection(name, function)
            work()
            found[name] = bench.captured(work) if is_captured else work
        except Exception as error:  # of a version of somebody else's code that we did not see; the others still count
            absent[name] = f"which fails: {' '.join(str(error).split())[:120]}"
    return found, kept, absent


def _ours(kernels: Kernels, bench: Bench, shape: Shape, memory: dict[str, Any]) -> Work:
    """The kernels on torch's memory, after the similarities by torch; what ``memory`` lacks is added to it."""
    import torch

    from benchmarks.selection_peers import whole_steps

    sizes = (1, shape.tokens, shape.keep)
    plans = (launch.pivot_select(*sizes), launch.spherical_kmeans(*sizes))
    for spec in (spec for plan in plans for spec in plan.tensors):
        if spec.name not in memory:
            memory[spec.name] = torch.empty(spec.shape, dtype=getattr(torch, spec.dtype), device=bench.place)
        assert memory[spec.name].numel() == int(np.prod(spec.shape)), spec.name
    workspaces = [torch.empty(max(1, plan.workspace_bytes), dtype=torch.uint8, device=bench.place) for plan in plans]
    addresses = {name: tensor.data_ptr() for name, tensor in memory.items()}
    bound = [
        kernels.bind(plan, addresses, workspace.data_ptr()) for plan, workspace in zip(plans, workspaces, strict=True)
    ]

    def work(_alive: Any = workspaces) -> None:
        memory["gram"][0].copy_(whole_steps(memory["visual"]))
        for each in bound:
            each.enqueue(bench.stream())

    return work


def main() -> None:
    from clasp_trt.plugins.driver import load_driver
    from tests.gpu.harness.device import Device
    from tests.gpu.harness.environment import cubin_for, probe

    environment = probe(load_driver())
    device = Device(load_driver(), cubin_for(environment).image)
    bench = CudaBench(round(environment.l2_mb * 2e6))
    found = [time_selection(device, bench, shape, 5, 50) for shape in GOALS]
    print(json.dumps([each.to_json() for each in found], indent=2))


if __name__ == "__main__":
    main()
