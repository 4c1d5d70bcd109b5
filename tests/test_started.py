"""Whoever runs the tests, what they start sees none of it."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import ROOT
from tests.started import own_environment

STARTS = {"run", "Popen", "call", "check_call", "check_output"}


@pytest.fixture(autouse=True)
def _inside_make(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MAKELEVEL", "1"), ("MAKEFLAGS", "w"), ("MFLAGS", "-w"), ("PYTEST_ADDOPTS", "--no-such")):
        monkeypatch.setenv(name, value)


def test_the_runners_variables_stay_behind_and_others_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    done = subprocess.run(
        [sys.executable, "-c", program], env=own_environment(MINE="x"), capture_output=True, text=True, check=True
    )
    seen = json.loads(done.stdout)
    assert [name for name in seen if name.startswith(("MAKE", "MFLAGS", "PYTEST"))] == []
    assert (seen["MINE"], seen["OMP_NUM_THREADS"]) == ("x", "1")
    assert "PATH" in seen


def test_make_inside_make_says_its_commands_alone() -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    command = ["make", "-n", "gpu-check", "PYTHON=some/python", "GPU_RESULTS=out"]
    done = subprocess.run(command, cwd=ROOT, env=own_environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "some/python -m tests.gpu --results out\n"


def _starts(path: Path) -> list[ast.Call]:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    named = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr in STARTS]
    return [call for call in named if isinstance(call.func.value, ast.Name) and call.func.value.id == "subprocess"]


def test_every_start_names_its_environment() -> None:
    starts = [(path, call) for path in (ROOT / "tests").rglob("*.py") for call in _starts(path)]
    bare = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path, call in starts
        if "env" not in {keyword.arg for keyword in call.keywords}
    ]
    assert bare == []
    assert len(starts) > 20
    spread = [path for path in (ROOT / "tests").rglob("*.py") if "**os" + ".environ" in path.read_text()]
    assert spread == [], "tests.started.own_environment() instead"
