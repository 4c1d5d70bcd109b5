"""Answers summed up: accuracy per category and method, what pruning costs against none, tokens and time."""

from __future__ import annotations

import statistics as stdlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clasp_trt.methods import METHODS
from clasp_trt.schedule import Schedule
from clasp_trt.tools.evaluate.answers import Answer
from clasp_trt.tools.evaluate.questions import Question
from clasp_trt.tools.evaluate.statistics import Interval, Paired, Share
from clasp_trt.tools.evaluate.tally import Tally

BASELINE = "none"
"""The method that the others are held against, if it was asked for."""


@dataclass(frozen=True)
class MethodReport:
    """One method: its share of right answers overall and by category, in the policy's order.

    ``mean_visual_tokens`` is the mean over decoder layers and questions, ``ttft_ms`` the median. ``against_none``
    compares it with no pruning on the same questions, if that was asked for; its ratio is the retention.
    """

    name: str
    overall: Share
    categories: Mapping[str, Share]
    mean_visual_tokens: float
    ttft_ms: float
    against_none: Paired | None


@dataclass(frozen=True)
class Report:
    """What an evaluation found. ``routing`` is how often the router gave a row's own category, where it was asked."""

    questions: int
    pictures: int
    routing: Share | None
    methods: tuple[MethodReport, ...]

    def to_json(self) -> dict[str, object]:
        """Numbers alone, for ``--json``; accuracies are shares from 0 to 1."""
        return {
            "questions": self.questions,
            "pictures": self.pictures,
            "routing": None if self.routing is None else share_json(self.routing),
            "methods": {method.name: _method_json(method) for method in self.methods},
        }


def summarise(
    questions: Sequence[Question],
    answers: Mapping[tuple[int, str], Answer],
    methods: Sequence[str],
    categories: Sequence[str],
    schedule: Schedule,
) -> Report:
    """The report on ``answers``, by line and method, which hold one for each of ``questions`` and ``methods``."""
    tally = Tally(questions, answers, methods)
    reports = tuple(
        MethodReport(
            name=name,
            overall=tally.overall(name),
            categories=tally.categories(name, categories),
            mean_visual_tokens=_mean_tokens(
                [answers[q.row.line, name].visual_tokens for q in questions], name, schedule
            ),
            ttft_ms=stdlib.median(answers[question.row.line, name].ttft_ms for question in questions),
            against_none=tally.against(name, BASELINE),
        )
        for name in methods
    )
    return Report(tally.questions, tally.pictures, tally.routing, reports)


def _mean_tokens(tokens: Sequence[int], method: str, schedule: Schedule) -> float:
    """Over decoder layers and questions, of which each has its number of ``tokens``."""
    prunes = METHODS[method].prunes
    return stdlib.fmean(schedule.mean_of(each) if prunes else schedule.entering(each) for each in tokens)


def share_json(share: Share) -> dict[str, object]:
    """A share with its interval."""
    return {"right": share.right, "total": share.total, "accuracy": share.value, "interval": list(share.interval)}


def paired_json(compared: Paired) -> dict[str, object]:
    """A comparison with its intervals."""
    return {
        "difference": compared.difference,
        "difference_interval": _interval_json(compared.difference_interval),
        "ratio": compared.ratio,
        "ratio_interval": _interval_json(compared.ratio_interval),
    }


def _interval_json(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)


def _method_json(method: MethodReport) -> dict[str, object]:
    return {
        **share_json(method.overall),
        "categories": {name: share_json(share) for name, share in method.categories.items()},
        "mean_visual_tokens": method.mean_visual_tokens,
        "ttft_ms": method.ttft_ms,
        "against_none": None if method.against_none is None else paired_json(method.against_none),
    }
