"""Asks a bundle every question with every method: each picture is decoded and encoded once for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from clasp_trt import methods as pruning
from clasp_trt.errors import DataError, ImageError, PromptError
from clasp_trt.evaluation.pictures import decoded
from clasp_trt.evaluation.questions import Question, Questions, assign, check_categories
from clasp_trt.evaluation.report import Report, summarise
from clasp_trt.scoring import matches

if TYPE_CHECKING:
    from PIL import Image

    from clasp_trt.runtime.pipeline import Encoded, Pipeline

DEFAULT_MAX_NEW_TOKENS = 16
"""Answers are a word or two; what is longer than this is wrong anyway."""


@dataclass(frozen=True)
class Answer:
    """What one method said to the question in line ``line``.

    ``ttft_ms`` is the time to the first token from a decoded picture: preprocessing and vision, which ran once for all
    answers about the picture, are counted in each.
    """

    line: int
    method: str
    said: str
    right: bool
    ttft_ms: float


class Store(Protocol):
    """Where answers go as soon as they are there, and where those of an earlier run are."""

    @property
    def kept(self) -> Sequence[Answer]:
        """Answers that need no asking; those to other questions are ignored."""

    def keep(self, question: Question, answer: Answer) -> None:
        """Hears each new answer."""


class Forgetful:
    """A store of nothing."""

    kept: tuple[Answer, ...] = ()

    def keep(self, question: Question, answer: Answer) -> None: ...


Progress = Callable[[str, int, int], None]


def _silent(phase: str, done: int, total: int) -> None: ...


def evaluate(
    pipeline: Pipeline,
    questions: Questions,
    methods: Sequence[str] = ("clasp",),
    *,
    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
    route: bool = False,
    store: Store | None = None,
    progress: Progress = _silent,
) -> Report:
    """Answers every question greedily with every method, and sums up.

    Args:
        pipeline: its policy says which categories there are.
        methods: names of :data:`clasp_trt.methods.METHODS`, each once.
        route: answer under the category that the router gives, also where the row has one.
        store: holds the answers of an earlier run and hears each new one (None: forgets them).
        progress: hears a phase, answers that there are and answers in all.

    Raises:
        DataError: a category that the policy does not have, before anything is answered; or a row whose picture or
            prompt cannot be used, by ``file:line``, when its turn comes.
        MethodError: an unknown method, or one that the bundle cannot follow.
    """
    store = store or Forgetful()
    check_categories(questions, pipeline.policy)
    variants = {name: pipeline.variant(method=pruning.get(name)) for name in methods}
    asked = assign(questions, lambda prompt: pipeline.route(prompt).name, route=route)
    wanted = {(question.row.line, name) for question in asked for name in variants}
    answers = {(answer.line, answer.method): answer for answer in store.kept if (answer.line, answer.method) in wanted}
    progress("answer", len(answers), len(wanted))
    open_questions = [q for q in asked if any((q.row.line, name) not in answers for name in variants)]
    by_picture = _by_picture(open_questions)
    with decoded(list(by_picture)) as pictures:
        for about in by_picture.values():
            encoded, spent_ms = _encode(pipeline, pictures, questions, about[0])
            for question in about:
                for name, variant in variants.items():
                    key = question.row.line, name
                    if key in answers:
                        continue
                    answer = _ask(variant, name, encoded, spent_ms, question, questions, max_new_tokens)
                    store.keep(question, answer)
                    answers[key] = answer
                    progress("answer", len(answers), len(wanted))
    names = [category.name for category in pipeline.policy.categories]
    return summarise(asked, answers.values(), tuple(variants), names, pipeline.bundle.manifest.schedule)


def _by_picture(questions: Iterable[Question]) -> dict[Path, list[Question]]:
    grouped: dict[Path, list[Question]] = {}
    for question in questions:
        grouped.setdefault(question.row.image, []).append(question)
    return grouped


def _encode(
    pipeline: Pipeline, pictures: Iterable[Image.Image], questions: Questions, question: Question
) -> tuple[Encoded, float]:
    """The next picture, encoded, and the milliseconds that this took."""
    try:
        picture = next(iter(pictures))
        start = time.perf_counter()
        return pipeline.encode(picture), (time.perf_counter() - start) * 1e3
    except ImageError as error:
        raise DataError(f"{questions.place(question.row)}: {error}") from error


def _ask(
    variant: Pipeline,
    name: str,
    encoded: Encoded,
    spent_ms: float,
    question: Question,
    questions: Questions,
    max_new_tokens: int,
) -> Answer:
    row = question.row
    try:
        result = variant.generate(encoded, row.prompt, max_new_tokens=max_new_tokens, category=question.asked)
    except PromptError as error:
        raise DataError(f"{questions.place(row)}: {error}") from error
    ttft_ms = spent_ms + result.timings_ms["ttft"]
    return Answer(row.line, name, result.text, matches(result.text, row.answer), ttft_ms)
