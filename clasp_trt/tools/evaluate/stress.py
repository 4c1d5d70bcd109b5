"""What a router's mistakes cost (Table 22 of the paper): prompts forced to Default, and to categories at random.

Every question is answered under its true category, under the router's, under Default and under another category drawn
at random. Which questions a mistake hits is no part of the experiment: if a share ``s`` of them is hit, the expected
accuracy is ``(1 - s)`` times that under true categories plus ``s`` times that under the wrong ones, exactly.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from clasp_trt.progress import Progress, silent
from clasp_trt.tools.evaluate.answers import DEFAULT_MAX_NEW_TOKENS, Forgetful, Run, Store, answer
from clasp_trt.tools.evaluate.questions import Question, Questions, assign, check_categories
from clasp_trt.tools.evaluate.report import paired_json, share_json
from clasp_trt.tools.evaluate.statistics import Interval, Paired, Share
from clasp_trt.tools.evaluate.tally import Tally

if TYPE_CHECKING:
    from clasp_trt.runtime.pipeline import Pipeline

TRUE, ROUTER, DEFAULT, RANDOM = CONDITIONS = ("true category", "router", "all default", "all random")
SHARES = (0.1, 0.2, 0.3, 1.0)
"""Of the questions that a mistake hits."""


@dataclass(frozen=True)
class Condition:
    """Answers under one choice of categories: how many are right, overall and by true category.

    ``against_true`` compares them with those under the true categories, by question; for these it is None.
    """

    overall: Share
    categories: Mapping[str, Share]
    against_true: Paired | None


@dataclass(frozen=True)
class Mixture:
    """Expected accuracy, and its ratio to that under true categories, when a ``share`` of the questions is hit."""

    share: float
    accuracy: float
    ratio: float | None
    ratio_interval: Interval | None


@dataclass(frozen=True)
class Stress:
    """The conditions by name, and how often the router gave a row's own category (None: no row names one)."""

    questions: int
    pictures: int
    routing: Share | None
    conditions: Mapping[str, Condition]

    def mixtures(self, mistake: str) -> tuple[Mixture, ...]:
        """A ``mistake``, :data:`DEFAULT` or :data:`RANDOM`, that hits each of :data:`SHARES`."""
        right, wrong = self.conditions[TRUE].overall.value, self.conditions[mistake].overall.value
        found = self.conditions[mistake].against_true
        assert found is not None
        ends = found.ratio_interval
        return tuple(
            Mixture(
                share,
                (1 - share) * right + share * wrong,
                None if found.ratio is None else _mixed(share, found.ratio),
                None if ends is None else Interval(_mixed(share, ends.low), _mixed(share, ends.high)),
            )
            for share in SHARES
        )

    def to_json(self) -> dict[str, object]:
        """Numbers alone, for ``--json``; accuracies are shares from 0 to 1."""
        return {
            "questions": self.questions,
            "pictures": self.pictures,
            "routing": None if self.routing is None else share_json(self.routing),
            "conditions": {
                name: {
                    **share_json(found.overall),
                    "categories": {category: share_json(share) for category, share in found.categories.items()},
                    "against_true": None if found.against_true is None else paired_json(found.against_true),
                }
                for name, found in self.conditions.items()
            },
            "mixtures": {
                mistake: [
                    {
                        "share": mixture.share,
                        "accuracy": mixture.accuracy,
                        "ratio": mixture.ratio,
                        "ratio_interval": None if mixture.ratio_interval is None else list(mixture.ratio_interval),
                    }
                    for mixture in self.mixtures(mistake)
                ]
                for mistake in (DEFAULT, RANDOM)
            },
        }


def stress(
    pipeline: Pipeline,
    questions: Questions,
    *,
    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
    store: Store | None = None,
    progress: Progress = silent,
) -> Stress:
    """Answers every question greedily under each of :data:`CONDITIONS`, and sums up.

    A row's own category counts as the true one, and the router's where it has none. Arguments and errors are those of
    :func:`clasp_trt.tools.evaluate.evaluate`.
    """
    check_categories(questions, pipeline.policy)
    names = [category.name for category in pipeline.policy.categories]
    routed = assign(questions, lambda prompt: pipeline.route(prompt).name, route=True)
    asked = {
        TRUE: tuple(replace(question, requested=question.counted) for question in routed),
        ROUTER: routed,
        DEFAULT: tuple(replace(question, requested=names[-1]) for question in routed),
        RANDOM: tuple(replace(question, requested=_another(question, names)) for question in routed),
    }
    runs = [Run(name, pipeline, asked[name]) for name in CONDITIONS]
    answers = answer(questions, runs, max_new_tokens=max_new_tokens, store=store or Forgetful(), progress=progress)
    tally = Tally(routed, answers, CONDITIONS)
    conditions = {
        name: Condition(
            tally.overall(name),
            tally.categories(name, names),
            None if name == TRUE else tally.against(name, TRUE),
        )
        for name in CONDITIONS
    }
    return Stress(tally.questions, tally.pictures, tally.routing, conditions)


def _another(question: Question, names: Sequence[str]) -> str:
    """A wrong category for a question, Default among them; the same whichever questions are beside it."""
    others = [name for name in names if name != question.counted]
    return random.Random(f"{question.row.line} {question.row.prompt}").choice(others or names)


def _mixed(share: float, ratio: float) -> float:
    return 1 + share * (ratio - 1)
