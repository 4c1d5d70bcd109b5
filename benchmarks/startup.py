"""From the start of a process to the first token: ``python -m benchmarks.startup``.

Each round is a process of its own that opens the bundle of the shipped checkpoint, or ``--bundle``, and answers one
question on one thread. Told are medians: by the clock, and the process's own CPU time, which other processes do not
add to, in all and by what it went to.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from benchmarks.worker import ROOT
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.demo.shipped import checkpoint

PHOTO = ROOT / "examples" / "photos" / "coffee.jpg"
PARTS = ("python", "import", "load", "answer")
_CHILD = """
import json, sys, time
at = [0.0, time.process_time()]
from clasp_trt.runtime.pipeline import load
at.append(time.process_time())
pipeline = load(sys.argv[1], threads=1)
at.append(time.process_time())
next(pipeline.stream(sys.argv[2], "How many cups are there?", max_new_tokens=2).events())
at.append(time.process_time())
print(json.dumps({"cpu": at, "modules": len(sys.modules), "end": time.time()}))
"""


def start(bundle: Path, bytecode: Path) -> dict[str, float]:
    """One process: milliseconds of CPU time by :data:`PARTS` and in ``all``, ``wall``, and how many ``modules``.

    Modules are compiled once, into the folder ``bytecode``, as an installed package's are.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(bytecode)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    begun = time.time()
    command = [sys.executable, "-c", _CHILD, str(bundle), str(PHOTO)]
    told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
    found = json.loads(told)
    at = found["cpu"]
    spent = {part: 1e3 * (after - before) for part, before, after in zip(PARTS, at, at[1:], strict=False)}
    return {**spent, "all": 1e3 * at[-1], "wall": 1e3 * (found["end"] - begun), "modules": found["modules"]}


def measure(bundle: Path, rounds: int) -> dict[str, float]:
    """The median of each figure, the first round left out: it fills the caches of files and of bytecode."""
    with tempfile.TemporaryDirectory() as bytecode:
        taken = [start(bundle, Path(bytecode)) for _ in range(rounds + 1)][1:]
    return {name: statistics.median(each[name] for each in taken) for name in taken[0]}


@click.command()
@click.option("--bundle", type=click.Path(exists=True, file_okay=False, path_type=Path), help="[default: the shipped]")
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
def main(bundle: Path | None, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as root:
        found = measure(bundle or build(checkpoint(None), Path(root, "bundle")).root, rounds)
    parts = ", ".join(f"{part} {found[part]:.0f}" for part in PARTS)
    print(f"first token after {found['wall']:.0f} ms; CPU time {found['all']:.0f} ms ({parts})")
    print(f"{found['modules']:.0f} modules")


if __name__ == "__main__":
    main()
