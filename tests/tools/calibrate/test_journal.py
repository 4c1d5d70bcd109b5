"""Answers survive an interruption, and are not taken for those of another run."""

from __future__ import annotations

from pathlib import Path

import pytest

from clasp_trt.errors import OutputError
from clasp_trt.storage.journal import journal_path
from clasp_trt.tools.calibrate.journal import open_journal

INPUTS = {"bundle": "b0", "data": "d0"}
HEAD = '{"results": "clasp-trt calibrate", "bundle": "b0", "data": "d0"}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return journal_path(tmp_path / "policy.json")


def fill(path: Path, count: int = 3) -> None:
    with open_journal(path, INPUTS) as journal:
        for line in range(count):
            journal.ask((0, 1, line), lambda line=line: line % 2 == 0)  # type: ignore[misc]


def never() -> bool:
    raise AssertionError("this answer is known")


def test_lies_beside_the_output(tmp_path: Path) -> None:
    assert journal_path(tmp_path / "policy.json") == tmp_path / "policy.json.partial.jsonl"


def test_lies_beside_what_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "here.json").symlink_to(tmp_path / "there" / "policy.json")
    assert journal_path(tmp_path / "here.json") == tmp_path / "there" / "policy.json.partial.jsonl"


def test_known_answers_are_not_asked_again(path: Path) -> None:
    fill(path)
    with open_journal(path, INPUTS) as journal:
        assert [journal.ask((0, 1, line), never) for line in range(3)] == [True, False, True]
        assert journal.ask((0, 2, 0), lambda: False) is False


def test_answer_is_on_disk_at_once(path: Path) -> None:
    with open_journal(path, INPUTS) as journal:
        journal.ask((4, 5, 6), lambda: True)
        assert path.read_text().splitlines()[-1] == "[4, 5, 6, 1]"


@pytest.mark.parametrize("cut", range(1, 10))
def test_line_that_was_cut_short_is_asked_again(path: Path, cut: int) -> None:
    fill(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with open_journal(path, INPUTS) as journal:
        assert journal.ask((0, 1, 2), lambda: True)
    assert path.read_bytes() == whole


def test_head_that_was_cut_short_begins_anew(path: Path) -> None:
    path.write_bytes(b'{"results"')
    fill(path)
    with open_journal(path, INPUTS) as journal:
        assert journal.ask((0, 1, 0), never)


def test_other_inputs_are_named(path: Path) -> None:
    fill(path)
    before = path.read_bytes()
    with (
        pytest.raises(OutputError, match=r"--restart"),
        open_journal(path, {**INPUTS, "data": "d1"}),
    ):
        pass
    assert path.read_bytes() == before


def test_restart_drops_them(path: Path) -> None:
    fill(path)
    with open_journal(path, {**INPUTS, "data": "d1"}, restart=True) as journal:
        assert journal.ask((0, 1, 0), lambda: False) is False


@pytest.mark.parametrize(
    "text", ["hello\n", "hello", "[]\n", "3\n", "{}\n", HEAD + "[1, 2]\n", HEAD + '[1, 2, 3, "x"]\n', "\n"]
)
def test_file_of_another_kind_is_left_alone(path: Path, text: str) -> None:
    path.write_text(text)
    with (
        pytest.raises(OutputError, match=r"partial\.jsonl.*--restart"),
        open_journal(path, INPUTS),
    ):
        pass
    assert path.read_text() == text


def test_two_runs_do_not_write_one_file(path: Path) -> None:
    with open_journal(path, INPUTS) as journal:
        journal.ask((0, 0, 0), lambda: True)
        with (
            pytest.raises(OutputError, match=r"is writing"),
            open_journal(path, INPUTS),
        ):
            pass
        journal.ask((0, 0, 1), lambda: True)
    with open_journal(path, INPUTS) as journal:
        assert journal.ask((0, 0, 1), never)


def test_without_answers_nothing_remains(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_journal(path, INPUTS):
        _ = 1 / 0
    assert not path.exists()


def test_answers_outlive_an_error(path: Path) -> None:
    with open_journal(path, INPUTS) as journal:
        journal.ask((0, 0, 0), lambda: True)
        with pytest.raises(ZeroDivisionError):
            journal.ask((0, 0, 1), lambda: bool(1 / 0))
    with open_journal(path, INPUTS) as journal:
        assert journal.ask((0, 0, 0), never)
        assert journal.ask((0, 0, 1), lambda: True)
