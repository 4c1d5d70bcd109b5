"""The numbered examples run as they stand, in order, and the page lists them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from clasp_trt.methods import METHODS
from tests.house import ROOT
from tests.started import own_environment

SCRIPTS = sorted((ROOT / "examples").glob("[0-9]*.py"))


def run(script: str, folder: Path) -> str:
    """What the script prints, for a bundle in ``folder``."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / script, folder],
        cwd=folder.parent,
        env=own_environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first script builds."""
    folder = tmp_path_factory.mktemp("examples") / "bundle"
    said = run("00_build.py", folder)
    assert "clasp-tiny" in said
    assert "42" in said
    return folder


@pytest.mark.full
def test_a_bundle_answers(bundle: Path) -> None:
    said = run("01_answer.py", bundle)
    assert "answer: stop" in said
    assert [int(count) for count in re.findall(r"keeps (\d+) tokens", said)] == [42, 30, 25]


@pytest.mark.full
def test_methods_are_compared(bundle: Path) -> None:
    said = run("02_compare_methods.py", bundle)
    assert [line.split()[0] for line in said.splitlines()] == list(METHODS)


@pytest.mark.full
def test_policies_are_served_without_a_build(bundle: Path) -> None:
    said = run("03_serve_a_policy.py", bundle)
    pivots = [int(count) for count in re.findall(r"(\d+) of 42 pivots", said)]
    assert pivots[1:] == [0, 42]
    assert 0 < pivots[0] < 42


def test_scripts_are_short_and_listed_in_order() -> None:
    text = (ROOT / "examples" / "README.md").read_text()
    names = [script.name for script in SCRIPTS]
    assert [name[:2] for name in names] == [f"{number:02}" for number in range(len(names))]
    assert re.findall(r"^\| \[(\d\d\w+\.py)\]", text, re.MULTILINE) == names
    assert re.findall(r"python examples/(\d\d\w+\.py)", text) == names
    assert all(len(script.read_text().splitlines()) <= 30 for script in SCRIPTS)
