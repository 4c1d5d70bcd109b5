"""Right and wrong answers of several runs to the same questions, counted and compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np

from clasp_trt.tools.evaluate.answers import Answer
from clasp_trt.tools.evaluate.dataset import linked
from clasp_trt.tools.evaluate.questions import Question
from clasp_trt.tools.evaluate.statistics import Paired, Share, paired


class Tally:
    """What was right, by the name of the run. Every run has an answer to each of ``questions``."""

    def __init__(
        self, questions: Sequence[Question], answers: Mapping[tuple[int, str], Answer], runs: Iterable[str]
    ) -> None:
        """``answers`` are by line and name of the run."""
        self._questions = questions
        self._right = {name: np.array([answers[q.row.line, name].right for q in questions]) for name in runs}
        self._counted = np.array([question.counted for question in questions])
        _, self._pictures = np.unique(
            [str(image) for image in linked(each.row for each in questions)], return_inverse=True
        )

    @property
    def questions(self) -> int:
        return len(self._questions)

    @property
    def pictures(self) -> int:
        return int(self._pictures.max()) + 1

    @cached_property
    def routing(self) -> Share | None:
        """How often the router gave a row's own category, where it was asked all the same (None: nowhere)."""
        asked = [q for q in self._questions if q.row.category is not None and q.routed is not None]
        return Share(sum(q.routed == q.row.category for q in asked), len(asked)) if asked else None

    def overall(self, run: str) -> Share:
        """The share of all answers that are right."""
        return _share(self._right[run])

    def categories(self, run: str, names: Iterable[str]) -> dict[str, Share]:
        """The same by category, for those of ``names`` that some question is counted under."""
        right = self._right[run]
        return {name: _share(right[self._counted == name]) for name in names if name in self._counted}

    def against(self, run: str, other: str) -> Paired | None:
        """A run compared with another by question; None if there is no such other."""
        return paired(self._right[run], self._right[other], self._pictures) if other in self._right else None


def _share(right: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Share:
    return Share(int(right.sum()), len(right))
