"""Answers summed up: accuracy per category and method, what pruning costs against none, tokens and time."""

from __future__ import annotations

import statistics as stdlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clasp_trt.methods import METHODS
from clasp_trt.schedule import Schedule
from clasp_trt.tools.evaluate.questions import Question
from clasp_trt.tools.evaluate.statistics import Interval, Paired, Share, paired

if TYPE_CHECKING:
    from clasp_trt.tools.evaluate.evaluate import Answer

BASELINE = "none"
"""The method that the others are held against, if it was asked for."""


@dataclass(frozen=True)
class MethodReport:
    """One method: its share of right answers overall and by category, in the policy's order.

    ``mean_visual_tokens`` is the mean over decoder layers, ``ttft_ms`` the median. ``against_none`` compares it with
    no pruning on the same questions, if that was asked for; its ratio is the retention.
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
    answers: Iterable[Answer],
    methods: Sequence[str],
    categories: Sequence[str],
    schedule: Schedule,
) -> Report:
    """The report on ``answers``, which hold one for each of ``questions`` and ``methods``."""
    found = {(answer.method, answer.line): answer for answer in answers}
    columns = {name: [found[name, question.row.line] for question in questions] for name in methods}
    counted = np.array([question.counted for question in questions])
    _, pictures = np.unique([str(question.row.image) for question in questions], return_inverse=True)
    right = {name: np.array([answer.right for answer in column]) for name, column in columns.items()}
    reports = []
    for name, column in columns.items():
        reports.append(
            MethodReport(
                name=name,
                overall=_share(right[name]),
                categories={each: _share(right[name][counted == each]) for each in categories if each in counted},
                mean_visual_tokens=float(schedule.mean_tokens if METHODS[name].prunes else schedule.tokens),
                ttft_ms=stdlib.median(answer.ttft_ms for answer in column),
                against_none=paired(right[name], right[BASELINE], pictures) if BASELINE in right else None,
            )
        )
    return Report(len(questions), int(pictures.max()) + 1, _routing(questions), tuple(reports))


def _routing(questions: Iterable[Question]) -> Share | None:
    """Of the rows that name a category and were routed all the same."""
    agreed = [q.routed == q.row.category for q in questions if q.row.category is not None and q.routed is not None]
    return Share(sum(agreed), len(agreed)) if agreed else None


def _share(right: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Share:
    return Share(int(right.sum()), len(right))


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
