"""The samples of a bundle as rows of a report: stages in groups, then what they add up to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clasp_trt.chain import names
from clasp_trt.runtime.timing import Span
from clasp_trt.tools.profile.sample import Sample

GROUPS = ("route", "preprocess", names.VISION, "project", "prefill", "prune", "rest")
"""The parts of the time to first token, in the order of the chain; ``rest`` is what no step accounts for."""

_GROUP_OF = {"tokenize": "route", names.EMBED: "prefill", names.GRAM: "prune", "raters": "prune"}
REST = "rest"


@dataclass(frozen=True, eq=False)
class Row:
    """Milliseconds float64 ``[runs, k]``: k is 1, or the steps of an answer. ``name`` is unique, with the group before
    a slash for a part of one."""

    name: str
    values: NDArray[np.float64]


def rows(samples: Sequence[Sample]) -> tuple[Row, ...]:
    """Everything that is reported of a bundle: groups, each followed by its parts if it has several; TTFT; the decode
    step with its graphs; TPOT, the mean of a run's later tokens; and the whole answer."""
    ttft = _column(sample.ttft_ms for sample in samples)
    tpot = _column(sample.tpot_ms for sample in samples)
    answer = _column((sample.end - sample.start) * 1e3 for sample in samples)
    return (
        *_first_token(samples, ttft),
        Row("ttft", ttft),
        *_decode(samples),
        Row("tpot", tpot),
        Row("answer", answer),
    )


def group_of(stage: str) -> str:
    """The group of a step of the runtime."""
    if names.is_segment(stage):
        return "prefill"
    if names.is_prune(stage):
        return "prune"
    return _GROUP_OF.get(stage, stage)


def _first_token(samples: Sequence[Sample], ttft: NDArray[np.float64]) -> Iterator[Row]:
    taken = [_sums(span for span in sample.spans if span.name != "decode") for sample in samples]
    stages = {name: _column(times[name] for times in taken) for name in taken[0]}
    rest = ttft - np.sum(list(stages.values()), axis=0)
    for group in GROUPS:
        parts = {name: values for name, values in stages.items() if group_of(name) == group}
        if group == REST:
            yield Row(REST, rest)
        elif parts:
            yield from _group(group, parts)


def _group(group: str, parts: dict[str, NDArray[np.float64]]) -> Iterator[Row]:
    yield Row(group, np.sum(list(parts.values()), axis=0))
    if len(parts) > 1:
        for name, values in parts.items():
            yield Row(f"{group}/{name}", values)


def _decode(samples: Sequence[Sample]) -> Iterator[Row]:
    """The step as a whole, each of its graphs, and the rest: sampling and what Python does between graphs."""
    whole = np.array([[step.milliseconds for step in sample.steps] for sample in samples])
    taken = [[_sums(_within(sample.calls, step)) for step in sample.steps] for sample in samples]
    graphs = {name: np.array([[step[name] for step in steps] for steps in taken]) for name in taken[0][0]}
    yield Row("decode", whole)
    for name, values in graphs.items():
        yield Row(f"decode/{name}", values)
    yield Row(f"decode/{REST}", whole - np.sum(list(graphs.values()), axis=0))


def _within(calls: Sequence[Span], step: Span) -> Iterator[Span]:
    return (call for call in calls if step.start <= call.start < step.end)


def _sums(spans: Iterable[Span]) -> dict[str, float]:
    """Milliseconds by name, in order of appearance."""
    sums: dict[str, float] = {}
    for span in spans:
        sums[span.name] = sums.get(span.name, 0.0) + span.milliseconds
    return sums


def _column(values: Iterable[float]) -> NDArray[np.float64]:
    return np.array([[value] for value in values], dtype=np.float64)
