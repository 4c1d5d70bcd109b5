"""Samples with times of one's choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clasp_trt.runtime.timing import Span
from clasp_trt.tools.profile.memory import Memory
from clasp_trt.tools.profile.sample import Sample


def sample(
    stages: Sequence[tuple[str, float]],
    steps: Sequence[Mapping[str, float]],
    *,
    start: float = 100.0,
    rest: float = 0.0,
    step_rest: float = 0.0,
) -> Sample:
    """An answer from ``start`` (seconds) on: ``stages`` and the graphs of each decode step in milliseconds, one after
    the other, then ``rest`` before the first token and ``step_rest`` at the end of each step."""
    now, spans, calls = start, list[Span](), list[Span]()
    for name, spent in stages:
        spans.append(Span(name, now, now + spent / 1e3))
        now += spent / 1e3
    calls += spans
    now += rest / 1e3
    ttft = now - start
    for graphs in steps:
        begun = now
        for name, spent in graphs.items():
            calls.append(Span(name, now, now + spent / 1e3))
            now += spent / 1e3
        now += step_rest / 1e3
        spans.append(Span("decode", begun, now))
    return Sample("default", 20, 16, ttft * 1e3, tuple(spans), tuple(calls), Memory(50, 60))
