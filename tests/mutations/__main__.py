"""``python -m tests.mutations``: makes each fault of the table in a copy of the tree; does its room notice?

The default tests of the room are run, each for a minute at most; what they let pass survived, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.house import ROOT
from tests.mutations.bounds import BOUNDS
from tests.mutations.grids import GRIDS
from tests.mutations.numbers import NUMBERS
from tests.mutations.recipes import RECIPES
from tests.mutations.rounding import ROUNDING
from tests.mutations.slots import SLOTS
from tests.mutations.table import MUTATIONS, Mutation
from tests.started import own_environment

OUTPUTS = {".git", ".venv", ".mypy_cache", ".ruff_cache", "build", "dist", "clasp-demo"}
"""What lies at the root and no test of a room reads."""
SECONDS = 60.0
FAILED = 1
"""Exit code of pytest where tests ran and one failed; any other is a mutation that tells nothing."""


@dataclass(frozen=True)
class Found:
    """What became of a mutation: ``noticed``, ``survived`` or ``broken``, which is to say that no test ran.
    ``cpu_seconds`` are those of the tests, whatever else the machine does."""

    what: str
    seconds: float
    cpu_seconds: float


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command; 1 if a mutation survived or told nothing."""
    options = parsed(words)
    wanted = [
        each
        for each in (*MUTATIONS, *BOUNDS, *GRIDS, *NUMBERS, *RECIPES, *ROUNDING, *SLOTS)
        if options.only in f"{each.name} {each.file}"
    ]
    worst = 0
    print(
        "| mutation | file | noticed by | result | seconds | of CPU |",
        "|---|---|---|---|---:|---:|",
        sep="\n",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        tree = copied(Path(folder) / "tree")
        for each in wanted:
            found = tried(each, tree, options.seconds)
            worst |= found.what != "noticed"
            row = (
                each.name,
                each.file,
                " ".join(each.tests),
                found.what,
                f"{found.seconds:.0f}",
                f"{found.cpu_seconds:.0f}",
            )
            print(f"| {' | '.join(row)} |", flush=True)
    return int(worst)


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    """The options of a command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("--only", default="", help="those whose name or file has this in it")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that a room has to notice")
    return parser.parse_args(words)


def copied(tree: Path) -> Path:
    """The files of this tree, and the traces that earlier tests made of it."""

    def ignored(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if name == "__pycache__" or (Path(folder) == ROOT and name in OUTPUTS)}

    shutil.copytree(ROOT, tree, symlinks=True, ignore=ignored)
    return tree


def mutated(mutation: Mutation, text: str) -> str:
    """``text`` with the fault; ``ValueError`` where it has moved on."""
    if text.count(mutation.old) != 1:
        raise ValueError(f"{mutation.file} has {text.count(mutation.old)} times: {mutation.old}")
    return text.replace(mutation.old, mutation.new)


def tried(mutation: Mutation, tree: Path, seconds: float) -> Found:
    """Makes the fault in ``tree``, runs the tests, and takes it back."""
    path = tree / mutation.file
    text = path.read_text(encoding="utf-8")
    path.write_text(mutated(mutation, text), encoding="utf-8")
    began, used = time.monotonic(), _cpu_seconds()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", *mutation.tests],
            cwd=tree,
            env=own_environment(PYTHONPATH=str(tree), OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        what = {0: "survived", FAILED: "noticed"}.get(done.returncode, "broken")
        if what == "broken":
            print(done.stdout[-2000:], file=sys.stderr)
    except subprocess.TimeoutExpired:
        what = "survived"
    finally:
        path.write_text(text, encoding="utf-8")
        os.utime(path)
    return Found(what, time.monotonic() - began, _cpu_seconds() - used)


def _cpu_seconds() -> float:
    """Of all processes that were started from here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
