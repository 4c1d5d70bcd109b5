"""The runs on a time line, in the format of Chrome's trace viewer (``chrome://tracing``, https://ui.perfetto.dev).

Each bundle is a process there, with a thread of requests, their steps and the calls of graphs within them. The nodes
of graphs, if they were timed, are those of one more answer, on a thread of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from clasp_trt.runtime.timing import Span
from clasp_trt.tools.profile.report import Measurement, Report
from clasp_trt.tools.profile.sample import Sample

FORMATS = (".json",)

_REQUESTS, _NODES = 1, 2

Event = dict[str, object]


def dumps(report: Report) -> str:
    """The whole trace as a JSON object; times are in microseconds from the first request on."""
    origin = min(measured.samples[0].start for measured in report.measurements)
    events = [
        event
        for number, measured in enumerate(report.measurements, start=1)
        for event in _bundle(number, measured, origin)
    ]
    return json.dumps({"displayTimeUnit": "ms", "traceEvents": events}, allow_nan=False)


def _bundle(process: int, measured: Measurement, origin: float) -> Iterator[Event]:
    name = measured.bundle.root.name
    yield _named("process_name", name, process, _REQUESTS)
    yield _named("thread_name", "requests", process, _REQUESTS)
    for number, sample in enumerate(measured.samples):
        yield from _request(f"request {number}", sample, process, _REQUESTS, origin)
    if measured.layers is not None:
        yield _named("thread_name", "one request with every node timed, which takes longer", process, _NODES)
        yield from _request("request", measured.layers.sample, process, _NODES, origin)
        yield from _complete("node", measured.layers.spans, process, _NODES, origin)


def _request(name: str, sample: Sample, process: int, thread: int, origin: float) -> Iterator[Event]:
    yield from _complete("request", [Span(name, sample.start, sample.end)], process, thread, origin)
    yield from _complete("step", sample.spans, process, thread, origin)
    yield from _complete("graph", sample.calls, process, thread, origin)


def _complete(category: str, spans: Sequence[Span], process: int, thread: int, origin: float) -> Iterator[Event]:
    for span in spans:
        yield {
            "ph": "X",
            "cat": category,
            "name": span.name,
            "pid": process,
            "tid": thread,
            "ts": (span.start - origin) * 1e6,
            "dur": (span.end - span.start) * 1e6,
        }


def _named(kind: str, name: str, process: int, thread: int) -> Event:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}
