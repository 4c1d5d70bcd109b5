"""A peer as a process: what it says is read, and whoever dies or never answers is told apart."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

import pytest

import benchmarks.worker
from benchmarks.worker import Worker

PICTURE = Path("picture.png")
FAKE = """
import os, sys, time
from benchmarks.worker import Sample, serve

class Fake:
    def run(self, image, prompt, new_tokens):
        print("a library that talks")
        if prompt == "sleep":
            time.sleep(60)
        if prompt == "die":
            os._exit(7)
        return Sample(1.5, (2.0,) * (new_tokens - 1), tuple(range(new_tokens)), 639, 12.0)

def load():
    if "slow" in sys.argv:
        time.sleep(60)
    return Fake()

serve(load, packages=("pip",))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    (root / "benchmarks").mkdir()
    shutil.copy(benchmarks.worker.__file__, root / "benchmarks")
    (root / "benchmarks" / "fake.py").write_text(FAKE)
    return root


def test_answers_versions_and_a_log(tree: Path, tmp_path: Path) -> None:
    log = tmp_path / "fake.log"
    with Worker("fake", threads=1, root=tree, log=log) as worker:
        answer = worker.run(PICTURE, "tell", 3)
    assert (answer.ttft_ms, answer.tpot_ms, answer.tokens) == (1.5, (2.0, 2.0), (0, 1, 2))
    assert worker.versions == {"pip": metadata.version("pip")}
    assert log.read_text() == "a library that talks\n"


def test_one_that_dies_is_told_by_its_exit_code(tree: Path) -> None:
    with Worker("fake", threads=1, root=tree) as worker, pytest.raises(RuntimeError, match="exit code 7"):
        worker.run(PICTURE, "die", 2)


def test_one_that_never_answers_is_ended(tree: Path) -> None:
    late = pytest.raises(RuntimeError, match="within 2 seconds")
    with late, Worker("fake", threads=1, root=tree, limit_s=2) as worker:
        worker.run(PICTURE, "sleep", 2)


def test_one_that_never_loads_is_ended(tree: Path) -> None:
    with pytest.raises(RuntimeError, match="within 1 seconds"):
        Worker("fake", "slow", threads=1, root=tree, limit_s=1)
