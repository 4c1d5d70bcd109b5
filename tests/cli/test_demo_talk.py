"""The demo's columns: answers as they come, cut at their column's end, with a mark and a time."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from clasp_trt import schedule as schedules
from clasp_trt.cli.demo_talk import Spoken
from clasp_trt.runtime.pipeline import Answer
from clasp_trt.tools.evaluate.dataset import Row

SCHEDULES = {"unpruned": schedules.none(144, 8), "third": schedules.given(144, 8, (75, 50, 28))}
ROW = Row(Path("x.png"), "What is it?", "star", "counting", 1)


def running(*pieces: str, ttft_ms: float = 12.4) -> Answer:
    class Running:
        result = SimpleNamespace(text="".join(pieces), timings_ms={"ttft": ttft_ms})

        def __iter__(self) -> Iterator[str]:
            return iter(pieces)

    return cast(Answer, Running())


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> Spoken:
    monkeypatch.setenv("COLUMNS", "60")
    return Spoken(SCHEDULES)


def asked(talk: Spoken, capsys: pytest.CaptureFixture[str], *answers: Answer) -> list[str]:
    """The lines that a question and its answers make."""
    talk.question(ROW)
    for answer in answers:
        talk.answer(ROW, answer)
    talk.end()
    return capsys.readouterr().out.splitlines()


def test_answers_stand_side_by_side(columns: Spoken, capsys: pytest.CaptureFixture[str]) -> None:
    lines = asked(columns, capsys, running("The ", "star."), running("moon", ttft_ms=1234))
    assert lines == ["", "What is it? (counting, star)", "The star. ✓ 12 ms".ljust(30) + "moon ✗ 1234 ms"]


def test_second_question_begins_at_the_left(columns: Spoken, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (asked(columns, capsys, running("star"), running("star")) for _ in range(2))
    assert first == second


def test_long_answer_stays_in_its_column(columns: Spoken, capsys: pytest.CaptureFixture[str]) -> None:
    line = asked(columns, capsys, running("many " * 3, "words " * 9, ttft_ms=99999), running("star"))[-1]
    assert len(line.split(" ms")[0]) < 30
    assert line[30:] == "star ✓ 12 ms"


def test_control_characters_do_not_reach_the_terminal(columns: Spoken, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(columns, capsys, running("st\x1b[31m", "ar\n"))[-1] == "st [31mar  ✗ 12 ms"


def test_marks_of_an_output_without_unicode(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    Spoken(SCHEDULES).answer(ROW, running("star"))
    out.flush()
    assert cast(io.BytesIO, out.buffer).getvalue() == b"star + 12 ms"
