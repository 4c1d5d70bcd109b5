"""The harness catches what is planted, replays it by its number, and a short run of it finds nothing."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from clasp_trt.bundle import Bundle
from tests.attack import __main__ as command
from tests.attack.campaign import Outcome, campaign, throw
from tests.attack.kinds import KINDS, Kind
from tests.attack.planted import GROWTH
from tests.house import ROOT
from tests.test_docs import shell_lines

PLANTED = Kind("planted", "tests.attack.planted", 60, 1.0, bound_s=1.0)
TRIES = 6


def plant(folder: Path, fault: str) -> Path:
    (folder / "fault").write_text(fault)
    return folder


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("wrong", "wrong"),
        ("raise", "KeyError: 'a foreign error' at planted.py:"),
        ("interrupt", "KeyboardInterrupt"),
        ("abort", "crash: killed by SIGABRT"),
        ("exit", "crash: exit code 3"),
        ("hang", "hang: not done after 1 s"),
    ],
)
def test_a_planted_fault_is_caught_and_replayed(tmp_path: Path, fault: str, said: str) -> None:
    """The same tries fail whatever went before: a number alone says what is thrown."""
    material = plant(tmp_path, fault)
    outcome = throw(PLANTED, material, 0, range(TRIES), 60)
    assert outcome.tried == TRIES
    assert 0 < len(outcome.failures) < TRIES
    assert all(what.startswith(said) for _, what in outcome.failures), outcome.failures
    number = outcome.failures[-1][0]
    again = throw(PLANTED, material, 0, range(number, number + 1), 60)
    assert [each[0] for each in again.failures] == [number]
    assert again.failures[0][1].startswith(said)


def test_where_nothing_is_planted_everything_holds(tmp_path: Path) -> None:
    outcome = campaign(PLANTED, plant(tmp_path, "none"), 0, 1.0)
    assert (outcome.tried, outcome.held, outcome.failures) == (6, 6, [])


def test_memory_that_is_kept_shows_as_growth(tmp_path: Path) -> None:
    leak = throw(PLANTED, plant(tmp_path, "leak"), 0, range(TRIES), 60)
    assert leak.growth > GROWTH * (TRIES - 2)
    assert throw(PLANTED, plant(tmp_path, "none"), 0, range(TRIES), 60).growth < GROWTH


def test_time_ends_a_campaign(tmp_path: Path) -> None:
    assert throw(PLANTED, plant(tmp_path, "none"), 0, range(10**9), 0.2).tried < 10**9


def test_another_seed_throws_something_else(tmp_path: Path) -> None:
    material = plant(tmp_path, "wrong")
    first, second = ([n for n, _ in throw(PLANTED, material, seed, range(20), 60).failures] for seed in (0, 1))
    assert first != second


def test_the_table() -> None:
    outcomes = [Outcome("bundles", 1000, [(7, "crash: killed by SIGSEGV")], 1_500_000)]
    assert command.table(outcomes).splitlines()[2:] == ["| bundles | 1000 | 999 | 1 | 1.5 MB |"]
    assert command.told(outcomes, 3).splitlines()[1:] == [
        "bundles 7: crash: killed by SIGSEGV",
        "  python -m tests.attack --only bundles --seed 3 --number 7",
    ]


def test_a_wrong_line_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--minutes", "0"], ["--only", "planets"]):
        with pytest.raises(SystemExit) as ended:
            command.main(words)
        assert ended.value.code == 2
        assert words[1] in capsys.readouterr().err


def test_commands_that_are_shown_are_real() -> None:
    shown = [
        shlex.split(line, comments=True)
        for page in ("docs/attack.md", "CONTRIBUTING.md")
        for line in shell_lines((ROOT / page).read_text())
        if "tests.attack" in line
    ]
    assert len(shown) >= 3
    for words in shown:
        assert words[:3] == ["python", "-m", "tests.attack"]
        command.parsed(words[3:])


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_short_run_holds(
    built: Callable[..., Bundle], tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: Kind
) -> None:
    """Some seconds of each kind, with a seed of their own; minutes of it are for whoever changes what it attacks."""
    options = {"max_context": 256}
    (tmp_path / "portable").symlink_to(built(target=None, **options).root)
    (tmp_path / "bundle").symlink_to(built(**options).root)
    words = ["--minutes", "0.15", "--seed", "7", "--only", kind.name, "--material", str(tmp_path), "--json"]
    code = command.main(words)
    (found,) = json.loads(capsys.readouterr().out)["kinds"]
    assert (code, found["failures"]) == (0, [])
    assert found["tried"] > 0
