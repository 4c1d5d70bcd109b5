"""Where the time goes within graphs: the profiles that ONNX Runtime writes, node by node.

A run of a graph there and a call of it here are the same, in the same order, so nothing has to be guessed from clocks.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from clasp_trt.runtime.timing import Span
from clasp_trt.tools.profile.sample import Sample

RUNS = 6
"""Answers with every node timed; the first one warms up and does not count."""

MOST_TOKENS = 17
"""Of an answer with every node timed: ONNX Runtime notes a million events and then no more."""

PREFILL, DECODE = "prefill", "decode"
_KERNEL = "_kernel_time"


class Node(NamedTuple):
    """A node of a graph, with the median milliseconds that it takes in a request up to the first token (``prefill``),
    or in a decode step. ``shape`` is that of its first output, in the last call."""

    graph: str
    phase: str
    name: str
    op: str
    shape: tuple[int, ...]
    milliseconds: float


class _Key(NamedTuple):
    """A node in a phase."""

    graph: str
    phase: str
    name: str
    op: str


@dataclass(frozen=True)
class Layers:
    """All nodes, slowest first; and when those of the last answer ran, on the clock of its ``sample``."""

    nodes: tuple[Node, ...]
    sample: Sample
    spans: tuple[Span, ...]

    def ops(self, phase: str) -> dict[str, float]:
        """Milliseconds of a phase by type of operator, slowest first."""
        sums: defaultdict[str, float] = defaultdict(float)
        for node in self.nodes:
            if node.phase == phase:
                sums[node.op] += node.milliseconds
        return dict(sorted(sums.items(), key=lambda item: -item[1]))


class _Event(NamedTuple):
    """A node in one call of its graph: seconds, on the clock of that call."""

    call: Span
    span: Span
    op: str
    shape: tuple[int, ...]


def read(folder: Path, samples: Sequence[Sample]) -> Layers:
    """Sums up the profiles in ``folder``, ``<graph>_<date>.json``, of answers of which the first one does not count."""
    last, spans = samples[-1], list[Span]()
    times: defaultdict[_Key, defaultdict[tuple[int, int], float]] = defaultdict(lambda: defaultdict(float))
    shapes: dict[_Key, tuple[int, ...]] = {}
    for graph, calls in _calls(samples).items():
        for event in _events(folder, graph, calls):
            number, step = _place(samples, event.call)
            if number > 0:
                key = _Key(graph, PREFILL if step < 0 else DECODE, event.span.name, event.op)
                times[key][number, step] += event.span.milliseconds
                shapes[key] = event.shape
            if event.call.start >= last.start:
                spans.append(event.span)
    nodes = [Node(*key, shapes[key], median(spent.values())) for key, spent in times.items()]
    return Layers(
        tuple(sorted(nodes, key=lambda node: -node.milliseconds)), last, tuple(sorted(spans, key=lambda s: s.start))
    )


def _place(samples: Sequence[Sample], call: Span) -> tuple[int, int]:
    """Which answer a call belongs to, and which of its steps after the first token, -1 for none."""
    number = bisect_right(samples, call.start, key=lambda sample: sample.start) - 1
    return number, bisect_right(samples[number].steps, call.start, key=lambda step: step.start) - 1


def _calls(samples: Sequence[Sample]) -> dict[str, list[Span]]:
    calls: defaultdict[str, list[Span]] = defaultdict(list)
    for sample in samples:
        for call in sample.calls:
            calls[call.name].append(call)
    return dict(calls)


def _events(folder: Path, graph: str, calls: Sequence[Span]) -> Iterator[_Event]:
    (path,) = folder.glob(f"{graph}_[0-9][0-9][0-9][0-9]-*.json")
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    runs = sorted(event["ts"] for event in found if event["name"] == "model_run")
    if len(runs) != len(calls):
        raise RuntimeError(f"the profile of graph {graph} holds {len(runs)} runs, expected {len(calls)}")
    for event in found:
        if event.get("cat") != "Node" or not event["name"].endswith(_KERNEL):
            continue
        number = bisect_right(runs, event["ts"]) - 1
        call = calls[number]
        start = call.start + (event["ts"] - runs[number]) / 1e6
        name = event["name"].removesuffix(_KERNEL)
        yield _Event(call, Span(name, start, start + event["dur"] / 1e6), *_operator(event["args"]))


def _operator(arguments: Mapping[str, Any]) -> tuple[str, tuple[int, ...]]:
    outputs = arguments.get("output_type_shape") or [{}]
    return str(arguments["op_name"]), tuple(next(iter(outputs[0].values()), ()))
