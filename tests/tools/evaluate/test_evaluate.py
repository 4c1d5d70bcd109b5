"""Every question is asked once with every method, pictures are seen once, and the sums are right."""

from __future__ import annotations

import dataclasses
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from clasp_trt.errors import DataError, MethodError
from clasp_trt.generation import Generation
from clasp_trt.runtime.pipeline import Pipeline
from clasp_trt.schedule import Schedule, Stage
from clasp_trt.tools.evaluate import Answer, Questions, check_categories, evaluate, paired
from clasp_trt.tools.evaluate.questions import Question
from clasp_trt.tools.evaluate.report import summarise

METHODS = ("none", "clasp", "uniform")


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
    evaluate(pipeline, questions, METHODS, store=notes)
    return notes.heard


@pytest.fixture(scope="session")
def marked(questions: Questions, said: list[tuple[Question, Answer]]) -> Questions:
    """The questions with what unpruned inference says as the answers, but for the first."""
    spoken = {answer.line: answer.said for _, answer in said if answer.method == "none"}
    rows = [dataclasses.replace(row, answer=spoken[row.line]) for row in questions.rows]
    rows[0] = dataclasses.replace(rows[0], answer="something else")
    return dataclasses.replace(questions, rows=tuple(rows))


def test_each_question_once_with_each_method(questions: Questions, said: list[tuple[Question, Answer]]) -> None:
    lines = [row.line for row in questions.rows]
    assert Counter((answer.line, answer.method) for _, answer in said) == Counter(
        (line, method) for line in lines for method in METHODS
    )


def test_an_answer_is_what_the_pipeline_says(pipeline: Pipeline, said: list[tuple[Question, Answer]]) -> None:
    from clasp_trt import methods

    for question, answer in said[:6]:
        variant = pipeline.variant(method=methods.get(answer.method))
        row = question.row
        alone = variant.generate(row.image, row.prompt, max_new_tokens=16, category=row.category)
        assert answer.said == alone.text


def test_answers_are_greedy_with_the_bundles_other_settings(
    pipeline: Pipeline, questions: Questions, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    generate = Pipeline.generate

    def watched(self: Pipeline, *given: Any, **options: Any) -> Any:
        result = generate(self, *given, **options)
        asked.append(result.generation)
        return result

    monkeypatch.setattr(Pipeline, "generate", watched)
    own = Generation(do_sample=True, temperature=9.0, repetition_penalty=1.5, no_repeat_ngram_size=3)
    monkeypatch.setitem(vars(pipeline.bundle), "generation", own)
    evaluate(pipeline, dataclasses.replace(questions, rows=questions.rows[:1]), max_new_tokens=2)
    assert [each.effective() for each in asked] == [
        {"repetition_penalty": 1.5, "no_repeat_ngram_size": 3, "max_new_tokens": 2}
    ]


def test_each_picture_is_encoded_once(
    pipeline: Pipeline, questions: Questions, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    encode = Pipeline.encode

    def count(self: Pipeline, image: Any, **wishes: Any) -> Any:
        seen.append(image)
        return encode(self, image, **wishes)

    monkeypatch.setattr(Pipeline, "encode", count)
    evaluate(pipeline, questions, METHODS, max_new_tokens=1)
    assert len(seen) == len({row.image for row in questions.rows})


def test_sums(pipeline: Pipeline, marked: Questions) -> None:
    import numpy as np

    notes = Notes()
    report = evaluate(pipeline, marked, METHODS, store=notes)
    assert [method.name for method in report.methods] == list(METHODS)
    assert (report.questions, report.pictures) == (len(marked.rows), 2)
    none, clasp, _ = report.methods
    assert (none.overall.right, none.overall.total) == (len(marked.rows) - 1, len(marked.rows))
    first = marked.rows[0].category
    for name, share in none.categories.items():
        total = sum(row.category == name for row in marked.rows)
        assert (share.right, share.total) == (total - (name == first), total)
    order = [category.name for category in pipeline.policy.categories]
    assert list(none.categories) == sorted(none.categories, key=order.index)
    right = {name: [a.right for _, a in notes.heard if a.method == name] for name in ("none", "clasp")}
    pictures = np.array([str(q.row.image) for q, a in notes.heard if a.method == "none"])
    assert none.against_none is not None
    assert none.against_none.ratio == 1
    assert clasp.against_none == paired(
        np.array(right["clasp"]), np.array(right["none"]), np.unique(pictures, return_inverse=True)[1]
    )
    schedule = pipeline.bundle.manifest.schedule
    assert (none.mean_visual_tokens, clasp.mean_visual_tokens) == (schedule.tokens, schedule.mean_tokens)


def test_the_mean_of_tokens_is_that_of_the_pictures_asked_about(questions: Questions) -> None:
    """Which differ in their tokens where a model takes pictures of any shape."""
    rows = questions.rows[:2]
    asked = [Question(row, "default", "default", None) for row in rows]
    tokens = {rows[0].line: 16, rows[1].line: 64}
    answers = {
        (line, name): Answer(line, name, "", False, 1.0, count)
        for line, count in tokens.items()
        for name in ("none", "clasp")
    }
    schedule = Schedule(layers=2, tokens=64, stages=(Stage(0, 32, Fraction(1, 2)),), source="given")
    none, clasp = summarise(asked, answers, ("none", "clasp"), ("default",), schedule).methods
    assert none.mean_visual_tokens == (16 + 64) / 2
    assert clasp.mean_visual_tokens == ((16 + 8) / 2 + (64 + 32) / 2) / 2


def test_without_none_nothing_is_held_against_it(pipeline: Pipeline, questions: Questions) -> None:
    report = evaluate(pipeline, questions, max_new_tokens=1)
    assert [(method.name, method.against_none) for method in report.methods] == [("clasp", None)]


def test_what_is_kept_is_not_asked_again(
    pipeline: Pipeline, questions: Questions, said: list[tuple[Question, Answer]]
) -> None:
    answers = [answer for _, answer in said]
    stray = dataclasses.replace(answers[0], line=10_000)
    notes = Notes((*answers[:-4], stray))
    steps: list[tuple[str, int, int]] = []
    evaluate(pipeline, questions, METHODS, store=notes, progress=lambda *step: steps.append(step))
    assert [(a.line, a.method, a.said) for _, a in notes.heard] == [(a.line, a.method, a.said) for a in answers[-4:]]
    assert steps[0] == ("answer", len(answers) - 4, len(answers))
    assert steps[-1] == ("answer", len(answers), len(answers))


def test_categories_of_rows_and_of_the_router(pipeline: Pipeline, questions: Questions) -> None:
    first, second = questions.rows[:2]
    bare = dataclasses.replace(first, category=None)
    other = dataclasses.replace(second, category="default")
    routed = [pipeline.route(row.prompt).name for row in (first, second)]
    assert routed[1] != "default"
    few = dataclasses.replace(questions, rows=(bare, other))
    for route, asked, routing in ((False, "default", None), (True, routed[1], (0, 1))):
        notes = Notes()
        report = evaluate(pipeline, few, max_new_tokens=1, route=route, store=notes)
        assert [q.counted for q, _ in notes.heard] == [routed[0], "default"]
        assert [q.requested for q, _ in notes.heard] == [routed[0], asked]
        assert (report.routing and (report.routing.right, report.routing.total)) == routing


def test_an_unknown_category_is_refused_by_its_line(pipeline: Pipeline, questions: Questions) -> None:
    rows = (*questions.rows[:2], dataclasses.replace(questions.rows[2], category="countin"))
    wrong = dataclasses.replace(questions, rows=rows, name="D.jsonl")
    with pytest.raises(DataError, match=r"D\.jsonl:3: category 'countin'"):
        check_categories(wrong, pipeline.policy)
    notes = Notes()
    with pytest.raises(DataError):
        evaluate(pipeline, wrong, store=notes)
    assert notes.heard == []


def test_an_unknown_method_is_refused(pipeline: Pipeline, questions: Questions) -> None:
    with pytest.raises(MethodError, match="'clasp'"):
        evaluate(pipeline, questions, ["clapp"])


def test_a_bad_picture_names_its_row_and_what_came_before_is_kept(
    pipeline: Pipeline, questions: Questions, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    rows = (*questions.rows[:2], dataclasses.replace(questions.rows[2], images=(bad,)))
    notes = Notes()
    with pytest.raises(DataError) as raised:
        evaluate(pipeline, dataclasses.replace(questions, rows=rows, name="D.jsonl"), max_new_tokens=1, store=notes)
    assert str(raised.value).startswith("D.jsonl:3: ")
    assert "bad.png" in str(raised.value)
    assert len(notes.heard) == 2


def test_a_bad_prompt_names_its_row(pipeline: Pipeline, questions: Questions) -> None:
    rows = (dataclasses.replace(questions.rows[0], prompt="<image> or <image>?"),)
    with pytest.raises(DataError, match=r"D\.jsonl:1:.*<image> 2 times"):
        evaluate(pipeline, dataclasses.replace(questions, rows=rows, name="D.jsonl"))


def test_limit_takes_the_first(data: Path) -> None:
    whole, few = Questions.read(data), Questions.read(data, limit=3)
    assert few.rows == whole.rows[:3]
    assert few.sha256 == whole.sha256
