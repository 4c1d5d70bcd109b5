"""Answers to questions: each picture is decoded and encoded once for all runs that ask about it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from clasp_trt.errors import DataError, ImageError, PromptError
from clasp_trt.progress import Progress, silent
from clasp_trt.runtime.sampling import GREEDY
from clasp_trt.tools.evaluate.pictures import decoded
from clasp_trt.tools.evaluate.questions import Question, Questions
from clasp_trt.tools.evaluate.scoring import matches

if TYPE_CHECKING:
    from PIL import Image

    from clasp_trt.runtime.encoded import Encoded, Shown
    from clasp_trt.runtime.pipeline import Pipeline

DEFAULT_MAX_NEW_TOKENS = 16
"""Answers are a word or two; what is longer than this is wrong anyway."""


@dataclass(frozen=True)
class Answer:
    """What one method said to the question in line ``line``.

    ``ttft_ms`` is the time to the first token from a decoded picture: preprocessing and vision, which ran once for all
    answers about the picture, are counted in each. ``visual_tokens`` are all that the picture has.
    """

    line: int
    method: str
    said: str
    right: bool
    ttft_ms: float
    visual_tokens: int


@dataclass(frozen=True)
class Run:
    """Questions for a pipeline, each under a category; answers are kept under the run's ``name``.

    Runs that are answered together have the same rows, and pipelines that are variants of one.
    """

    name: str
    pipeline: Pipeline
    questions: tuple[Question, ...]


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


def answer(
    questions: Questions,
    runs: Sequence[Run],
    *,
    max_new_tokens: int,
    store: Store,
    progress: Progress = silent,
) -> dict[tuple[int, str], Answer]:
    """The answers of every run, by line and name of the run. Each picture is encoded once for all of them, and what two
    runs would answer alike (one pipeline, one category) is asked once."""
    rows = list(zip(*(run.questions for run in runs), strict=True))
    wanted = {(question.row.line, run.name) for row in rows for run, question in zip(runs, row, strict=True)}
    answers = {(found.line, found.method): found for found in store.kept if (found.line, found.method) in wanted}
    progress("answer", len(answers), len(wanted))
    waiting = [row for row in rows if any((row[0].row.line, run.name) not in answers for run in runs)]
    by_picture = _by_picture(waiting)
    with decoded([image for about in by_picture.values() for image in about[0][0].row.images]) as pictures:
        for about in by_picture.values():
            encoded, clip, spent_ms = _encode(runs[0].pipeline, pictures, questions, about[0][0])
            for row in about:
                same: dict[tuple[int, str], Answer] = {}
                for run, question in zip(runs, row, strict=True):
                    key, alike = (question.row.line, run.name), (id(run.pipeline), question.requested)
                    if key not in answers:
                        told = same.get(alike) or _ask(
                            run, encoded, clip, spent_ms, question, questions, max_new_tokens
                        )  # fmt: skip
                        answers[key] = replace(told, method=run.name)
                        store.keep(question, answers[key])
                        progress("answer", len(answers), len(wanted))
                    same[alike] = answers[key]
    return answers


def _by_picture(rows: Iterable[tuple[Question, ...]]) -> dict[tuple[Path, ...], list[tuple[Question, ...]]]:
    grouped: dict[tuple[Path, ...], list[tuple[Question, ...]]] = {}
    for row in rows:
        grouped.setdefault(row[0].row.shown, []).append(row)
    return grouped


def _encode(
    pipeline: Pipeline, pictures: Iterable[Image.Image], questions: Questions, question: Question
) -> tuple[list[Encoded], Shown | None, float]:
    """The next pictures, those of the question, and its clip, encoded, and the milliseconds that this took."""
    try:
        shown, video = [next(iter(pictures)) for _ in question.row.images], question.row.video
        clip = None if video is None else pipeline.load_clip(video)
        start = time.perf_counter()
        encoded = [pipeline.encode(picture, several=len(shown) > 1) for picture in shown]
        watched = None if clip is None else pipeline.encode_clip(clip)
        return encoded, watched, (time.perf_counter() - start) * 1e3
    except ImageError as error:
        raise DataError(f"{questions.place(question.row)}: {error}") from error


def _ask(
    run: Run,
    encoded: list[Encoded],
    clip: Shown | None,
    spent_ms: float,
    question: Question,
    questions: Questions,
    max_new_tokens: int,
) -> Answer:
    row = question.row
    try:
        result = run.pipeline.generate(
            encoded, row.prompt, video=clip, max_new_tokens=max_new_tokens, sampling=GREEDY,
            category=question.requested,
        )  # fmt: skip
    except (ImageError, PromptError) as error:
        raise DataError(f"{questions.place(row)}: {error}") from error
    ttft_ms = spent_ms + result.timings_ms["ttft"]
    return Answer(row.line, run.name, result.text, matches(result.text, row.answer), ttft_ms, result.visual_tokens)
