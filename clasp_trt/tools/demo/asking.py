"""Asking every bundle the same questions, and what they answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from clasp_trt.tools.evaluate.scoring import matches

if TYPE_CHECKING:
    from PIL import Image

    from clasp_trt.runtime.answer import Answer
    from clasp_trt.runtime.media.seen import Seen
    from clasp_trt.runtime.pipeline import Pipeline
    from clasp_trt.runtime.result import Result
    from clasp_trt.tools.evaluate.dataset import Row

MAX_NEW_TOKENS = 8  # answers are one or two words


@dataclass(frozen=True)
class Asked:
    """A question, what the model saw of its picture, and each bundle's result by the bundle's name."""

    row: Row
    seen: Seen
    results: Mapping[str, Result]

    def right(self, name: str) -> bool:
        """Whether that bundle gave the answer of the data."""
        return matches(self.results[name].text, self.row.answer)


@dataclass(frozen=True)
class Score:
    """What came of all questions for one bundle. ``ttft_ms`` is the median time to first token, milliseconds."""

    right: int
    questions: int
    ttft_ms: float


def answer(pipeline: Pipeline, row: Row, image: Image.Image) -> Answer:
    """The running answer to a question, in the category that its row names (the router's, if it names none)."""
    return pipeline.stream(image, row.prompt, max_new_tokens=MAX_NEW_TOKENS, category=row.category)


def warm_up(pipelines: Iterable[Pipeline], row: Row, image: Image.Image) -> None:
    """One request each, so that no measured one pays for what happens only once."""
    for pipeline in pipelines:
        for _ in answer(pipeline, row, image):
            pass


def score(asked: Sequence[Asked], name: str) -> Score:
    """Sums up one bundle's answers; at least one question was asked."""
    return Score(
        right=sum(each.right(name) for each in asked),
        questions=len(asked),
        ttft_ms=median(each.results[name].timings_ms["ttft"] for each in asked),
    )
