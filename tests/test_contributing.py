"""CONTRIBUTING's map is the tree, and its steps lead where they say: a test follows them in a copy of the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.house import FOLDERS, ROOT
from tests.started import own_environment

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
MAPPED = ("clasp_trt", *FOLDERS, "benchmarks", "docs", "examples")

Run = Callable[..., str]


def section(title: str) -> str:
    """The text below a heading."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## )", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def blocks(title: str) -> list[str]:
    """The Python blocks of a section."""
    found = re.findall(r"^( *)```python\n(.*?)^\1```$", section(title), re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for _, block in found]


def test_map_has_a_line_for_every_folder() -> None:
    lines = re.findall(r"^([\w/]+)/ {2,}\S", section("The house"), re.MULTILINE)
    folders = {
        Path(folder).relative_to(ROOT).as_posix()
        for top in MAPPED
        for folder, _, files in os.walk(ROOT / top)
        if any(name.endswith(".py") for name in files)
    }
    assert set(lines) == folders | {"tests"}
    assert len(lines) == len(set(lines))


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package as an installation has it, to be changed."""
    copy = tmp_path / "clasp_trt"
    shutil.copytree(ROOT / "clasp_trt", copy, ignore=shutil.ignore_patterns("__pycache__"))  # links become folders
    return copy


@pytest.fixture
def run(package: Path) -> Run:
    """Runs a command of the copy and gives what it prints."""

    def run(*words: str | Path) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "clasp_trt", *map(str, words)],
            cwd=package.parent,
            env=own_environment(PYTHONPATH=str(package.parent)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def insert(path: Path, before: str, line: str) -> None:
    """Puts ``line`` before the one place where ``before`` stands."""
    text = path.read_text()
    assert text.count(before) == 1, (path, before)
    path.write_text(text.replace(before, line + before))


@pytest.mark.full
def test_a_method_is_one_file_and_its_name(package: Path, run: Run, built: Callable[..., Any], tmp_path: Path) -> None:
    written, imported = blocks("Adding a method")
    (package / "methods" / "center.py").write_text(written)
    methods = package / "methods" / "__init__.py"
    insert(methods, "from clasp_trt.methods.interface", imported)
    insert(methods, "            CLASP_FIXED,\n", "            CENTER,\n")
    bundle = built(prune_at="decoder").root
    picture = ROOT / "examples" / "photos" / "chelsea.jpg"
    words = ("show", bundle, "--image", picture, "--prompt", "What is this?", "-o", tmp_path / "kept.png", "--json")
    kept = {name: json.loads(run(*words, "--method", name))["kept"] for name in ("center", "clasp")}
    sizes = {name: [len(stage["indices"]) for stage in stages] for name, stages in kept.items()}
    assert sizes["center"] == sizes["clasp"]
    assert kept["center"] != kept["clasp"]


@pytest.mark.full
def test_a_target_is_one_row(package: Path, run: Run, built: Callable[..., Any], tmp_path: Path) -> None:
    (row,) = blocks("Adding a target")
    insert(package / "targets.py", '    Target("cpu", ', f"{row.rstrip()},\n")
    named = [each["name"] for each in json.loads(run("targets", "--json"))]
    assert named[-2:] == ["t4", "cpu"]
    run("build", built(target=None).root, "-o", tmp_path / "bundle", "--target", "t4", "--backend", "onnxruntime")
    made = json.loads(run("inspect", tmp_path / "bundle", "--json"))["manifest"]
    assert (made["target"], made["backend"]) == ("t4", "onnxruntime")
