"""A file of answers outlives what interrupts the run, and takes no answers of another."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clasp_trt.bundle import Bundle
from clasp_trt.errors import OutputError
from clasp_trt.tools.evaluate import Answer, Questions
from clasp_trt.tools.evaluate.questions import Question
from clasp_trt.tools.evaluate.results import header, opened

HEADER: dict[str, object] = {"data": "1", "methods": ["clasp"]}


def answer(questions: Questions, number: int) -> tuple[Question, Answer]:
    row = questions.rows[number]
    question = Question(row, "default", "default", None)
    return question, Answer(
        row.line, "clasp", row.answer if number % 2 else "wrong\r\n\u2028 ü", number % 2 == 1, 1.5, 16
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "r.jsonl"


@pytest.fixture
def written(path: Path, questions: Questions) -> tuple[Answer, ...]:
    """Three answers in ``path``."""
    given = [answer(questions, number) for number in range(3)]
    with opened(path, HEADER, questions) as results:
        assert results.kept == ()
        for each in given:
            results.keep(*each)
    return tuple(each for _, each in given)


def test_what_was_kept_is_there(path: Path, questions: Questions, written: tuple[Answer, ...]) -> None:
    with opened(path, HEADER, questions) as results:
        assert results.kept == written
    assert [json.loads(line).get("line") for line in path.read_bytes().splitlines()] == [None, 1, 2, 3]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6))
def test_killed_at_any_byte_it_goes_on(
    tmp_path_factory: pytest.TempPathFactory, questions: Questions, cut: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "r.jsonl"
    three = [answer(questions, number) for number in range(3)]
    with opened(path, HEADER, questions) as results:
        for each in three:
            results.keep(*each)
    whole = path.read_bytes()
    left = whole[: cut % len(whole)]
    path.write_bytes(left)
    with opened(path, HEADER, questions) as results:
        kept = results.kept
        assert kept == tuple(each for _, each in three[: max(0, left.count(b"\n") - 1)])
        for each in three[len(kept) :]:
            results.keep(*each)
    assert path.read_bytes() == whole


def test_rows_beyond_the_limit_are_passed_over(path: Path, data: Path, written: tuple[Answer, ...]) -> None:
    with opened(path, HEADER, Questions.read(data, limit=1)) as results:
        assert results.kept == written[:1]


def test_nothing_is_left_where_nothing_was_answered(path: Path, questions: Questions) -> None:
    with pytest.raises(KeyboardInterrupt), opened(path, HEADER, questions):
        raise KeyboardInterrupt
    assert not path.exists()


def refusal(path: Path, wanted: dict[str, object], questions: Questions) -> str:
    """Why a file is refused; it must stay as it was."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(OutputError) as raised, opened(path, wanted, questions):
        pass
    assert (path.read_bytes() if path.is_file() else None) == before
    return str(raised.value)


def test_answers_of_another_run_are_refused(path: Path, questions: Questions, written: tuple[Answer, ...]) -> None:
    reason = refusal(path, {**HEADER, "data": "2", "methods": ["none"]}, questions)
    assert "with other data and methods" in reason
    assert "name another file" in reason


def test_answers_that_depend_on_more_are_of_another_run(
    path: Path, questions: Questions, written: tuple[Answer, ...]
) -> None:
    assert "with other provider" in refusal(path, {**HEADER, "provider": "cuda"}, questions)
    path.unlink()
    with opened(path, {**HEADER, "provider": "cuda"}, questions) as results:
        results.keep(*answer(questions, 0))
    assert "with other provider" in refusal(path, HEADER, questions)


@pytest.mark.parametrize("content", [b"my thesis", b"my thesis\n", b'{"results": "mine"}\n', b"[]\n", b"\n"])
def test_a_file_of_something_else_is_refused(path: Path, questions: Questions, content: bytes) -> None:
    path.write_bytes(content)
    assert "name another file, or delete this one" in refusal(path, HEADER, questions)


def test_damage_is_named_by_its_line(path: Path, questions: Questions, written: tuple[Answer, ...]) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[1], b'{"line": 2}\n', lines[3]]))
    assert refusal(path, HEADER, questions).startswith(f"{path}:3: ")


def test_two_runs_do_not_write_one_file(path: Path, questions: Questions) -> None:
    with opened(path, HEADER, questions) as results:
        results.keep(*answer(questions, 0))
        assert "another run of clasp-trt eval is writing" in refusal(path, HEADER, questions)


def test_places_that_cannot_be_written(tmp_path: Path, questions: Questions) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "none" / "r.jsonl", tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(OutputError, match="name a file to make"), opened(place, HEADER, questions):
            pass


def test_header_is_what_decides_the_answers(built: Callable[..., Bundle], questions: Questions) -> None:
    bundle = built()
    other = built(prune_at="encoder")
    base = header(bundle, bundle.policy, questions, ["none", "clasp"], max_new_tokens=16, route=False)
    assert base == header(bundle, bundle.policy, questions, ["clasp", "none"], max_new_tokens=16, route=False)
    changed = {
        "bundle": header(other, bundle.policy, questions, ["none", "clasp"], max_new_tokens=16, route=False),
        "methods": header(bundle, bundle.policy, questions, ["clasp"], max_new_tokens=16, route=False),
        "max_new_tokens": header(bundle, bundle.policy, questions, ["none", "clasp"], max_new_tokens=8, route=False),
        "route": header(bundle, bundle.policy, questions, ["none", "clasp"], max_new_tokens=16, route=True),
    }
    for key, found in changed.items():
        assert [name for name in base if base[name] != found[name]] == [key]
