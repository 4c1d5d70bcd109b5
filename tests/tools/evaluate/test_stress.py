"""Each question under its true category, the router's, Default and a wrong one; mistakes are mixtures of these."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from clasp_trt.runtime.pipeline import Pipeline
from clasp_trt.runtime.result import Result
from clasp_trt.tools.evaluate import Answer, Questions, paired
from clasp_trt.tools.evaluate.questions import Question
from clasp_trt.tools.evaluate.stress import CONDITIONS, DEFAULT, RANDOM, ROUTER, SHARES, TRUE, stress


class Notes:
    """A store that remembers, and begins with some answers."""

    def __init__(self, kept: tuple[Answer, ...] = ()) -> None:
        self.kept = kept
        self.heard: list[tuple[Question, Answer]] = []

    def keep(self, question: Question, answer: Answer) -> None:
        self.heard.append((question, answer))


@pytest.fixture(scope="session")
def said(pipeline: Pipeline, questions: Questions) -> list[tuple[Question, Answer]]:
    notes = Notes()
    stress(pipeline, questions, max_new_tokens=4, store=notes)
    return notes.heard


def test_each_question_once_under_each_condition(
    pipeline: Pipeline, questions: Questions, said: list[tuple[Question, Answer]]
) -> None:
    assert Counter((answer.line, answer.method) for _, answer in said) == Counter(
        (row.line, name) for row in questions.rows for name in CONDITIONS
    )
    wrong = []
    for question, answer in said:
        row = question.row
        assert question.counted == row.category
        if answer.method == TRUE:
            assert question.requested == row.category
        elif answer.method == ROUTER:
            assert question.requested == pipeline.route(row.prompt).name
        elif answer.method == DEFAULT:
            assert question.requested == "default"
        else:
            assert question.requested != row.category
            wrong.append(question.requested)
    assert len(set(wrong)) > 3, "drawn, not one for all"


def test_an_answer_is_what_the_pipeline_says(pipeline: Pipeline, said: list[tuple[Question, Answer]]) -> None:
    for question, answer in said[:8]:
        row = question.row
        alone = pipeline.generate(row.image, row.prompt, max_new_tokens=4, category=question.requested)
        assert answer.said == alone.text


def test_one_category_is_asked_once(
    pipeline: Pipeline, questions: Questions, said: list[tuple[Question, Answer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None]] = []
    generate = Pipeline.generate

    def count(self: Pipeline, image: object, prompt: str, **options: object) -> Result:
        asked.append((prompt, options["category"]))  # type: ignore[arg-type]
        return generate(self, image, prompt, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Pipeline, "generate", count)
    few = dataclasses.replace(questions, rows=questions.rows[:4])
    stress(pipeline, few, max_new_tokens=1)
    lines = {row.line for row in few.rows}
    assert len(asked) == len({(q.row.line, q.requested) for q, _ in said if q.row.line in lines})


def test_the_draw_of_a_question_does_not_depend_on_the_others(
    pipeline: Pipeline, questions: Questions, said: list[tuple[Question, Answer]]
) -> None:
    notes = Notes()
    stress(pipeline, dataclasses.replace(questions, rows=questions.rows[3:5]), max_new_tokens=1, store=notes)
    before = {question.row.line: question.requested for question, answer in said if answer.method == RANDOM}
    drawn = {question.row.line: question.requested for question, answer in notes.heard if answer.method == RANDOM}
    assert drawn == {line: before[line] for line in drawn}
    assert len(drawn) == 2


def test_sums(pipeline: Pipeline, questions: Questions, said: list[tuple[Question, Answer]]) -> None:
    marks = {TRUE: 0b1110, ROUTER: 0b1100, DEFAULT: 0b0110, RANDOM: 0b0010}  # by line, counted from the last bit
    answers = [
        dataclasses.replace(answer, right=bool(marks[answer.method] >> (answer.line % 4) & 1)) for _, answer in said
    ]
    report = stress(pipeline, questions, max_new_tokens=4, store=Notes(tuple(answers)))
    lines = [row.line for row in questions.rows]
    right = {name: np.array([bool(marks[name] >> (line % 4) & 1) for line in lines]) for name in CONDITIONS}
    _, pictures = np.unique([str(row.image) for row in questions.rows], return_inverse=True)
    assert (report.questions, report.pictures) == (len(lines), 2)
    assert report.routing is not None
    agreed = [pipeline.route(row.prompt).name == row.category for row in questions.rows]
    assert (report.routing.right, report.routing.total) == (sum(agreed), len(agreed))
    for name, condition in report.conditions.items():
        assert (condition.overall.right, condition.overall.total) == (right[name].sum(), len(lines))
        assert sum(share.right for share in condition.categories.values()) == right[name].sum()
        assert condition.against_true == (None if name == TRUE else paired(right[name], right[TRUE], pictures))
    for mistake in (DEFAULT, RANDOM):
        compared = report.conditions[mistake].against_true
        assert compared is not None
        for mixture, share in zip(report.mixtures(mistake), SHARES, strict=True):
            expected = (1 - share) * right[TRUE].mean() + share * right[mistake].mean()
            assert (mixture.share, mixture.accuracy) == (share, pytest.approx(expected))
            assert mixture.ratio == pytest.approx(expected / right[TRUE].mean())
        whole = report.mixtures(mistake)[-1]
        assert whole.ratio_interval == pytest.approx(compared.ratio_interval)
    tenth = report.mixtures(DEFAULT)[0]
    assert tenth.ratio_interval is not None
    assert tenth.ratio_interval.low <= (tenth.ratio or 0) <= tenth.ratio_interval.high


def test_nothing_right_has_no_ratio(pipeline: Pipeline, questions: Questions) -> None:
    rows = [dataclasses.replace(row, answer="never said") for row in questions.rows[:2]]
    report = stress(pipeline, dataclasses.replace(questions, rows=tuple(rows)), max_new_tokens=1)
    assert [mixture.ratio for mixture in report.mixtures(RANDOM)] == [None] * len(SHARES)


def test_rows_without_a_category_count_under_the_routers(pipeline: Pipeline, questions: Questions) -> None:
    bare = tuple(dataclasses.replace(row, category=None) for row in questions.rows[:2])
    report = stress(pipeline, dataclasses.replace(questions, rows=bare), max_new_tokens=1)
    assert report.routing is None
    assert report.conditions[TRUE].overall == report.conditions[ROUTER].overall
