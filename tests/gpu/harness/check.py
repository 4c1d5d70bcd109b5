"""One check: every part in a process of its own, and what it found as a page and as JSON."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from clasp_trt.errors import ClaspError
from clasp_trt.plugins.driver import load_driver
from tests.gpu.harness.environment import probe
from tests.gpu.harness.page import COMMAND, page
from tests.gpu.harness.results import PARTS, Outcome, Part, Results, write
from tests.house import ROOT
from tests.started import own_environment

STOPPING = 3, 1 / 8
"""Seconds, and share of its time, of which the larger is left to a part to stop by itself, between two checks."""
SECONDS = 450
"""What all parts may take together. Each has a share of what is left, so that a slow one costs the others little; one
that is cut short is reported as such."""


def main(words: Sequence[str]) -> int:
    """0 when nothing failed, 1 when something did, 2 where there is no GPU to check."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.gpu", description="Check this project on the GPU of this machine."
    )
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="default: docs")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for all parts together; default: %(default)s")
    parser.add_argument(
        "--only", choices=[part.module for part in PARTS], action="append", help="this part, repeatable"
    )
    given = parser.parse_args(words)
    if given.only and given.results is None:
        parser.error("--only needs --results, since docs holds the results of whole checks")
    folder: Path = given.results or ROOT / "docs"
    try:
        environment = probe(load_driver())
    except ClaspError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{environment.device}, SM {environment.capability}, CUDA {environment.cuda}", flush=True)
    date = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M")
    deadline, outcomes = time.monotonic() + given.seconds, list[Outcome]()
    chosen = [part for part in PARTS if given.only is None or part.module in given.only]
    results = Results(date, COMMAND, environment, ())
    for number, part in enumerate(chosen):
        share = part.seconds / sum(each.seconds for each in chosen[number:])
        outcomes.append(run_apart(part, min(part.seconds, share * (deadline - time.monotonic()))))
        results = Results(date, COMMAND, environment, tuple(outcomes))
        write(folder / "gpu-results.json", results.to_json())  # after each part: the next may take the machine down
        write(folder / "gpu-results.md", page(results))
        print(f"{part.module}: {outcomes[-1].verdict}, {outcomes[-1].seconds:.0f} s", flush=True)
    print(f"wrote {folder / 'gpu-results.md'}")
    return 0 if results.is_clean else 1


def run_apart(part: Part, seconds: float, folder: Path = ROOT / "tests" / "gpu") -> Outcome:
    """Runs a part in a process of its own: an error of the device leaves nothing usable in the one it hits."""
    stopping = max(STOPPING[0], STOPPING[1] * seconds)
    if seconds < 2 * stopping:
        return Outcome(part.module, ended="no time was left for it")
    file = folder / f"{part.module}.py"
    with tempfile.TemporaryDirectory() as kept:
        notes = Path(kept) / "notes.json"
        command = [sys.executable, "-m", "tests.gpu.harness.part", str(file), str(notes), str(seconds - stopping)]
        started = time.monotonic()
        child = subprocess.Popen(
            command, cwd=ROOT, start_new_session=True, env=own_environment(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
        )
        try:
            code: int | None = child.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # with what it started, compute-sanitizer for one
            child.wait()
        outcome = Outcome(**json.loads(notes.read_text())) if notes.is_file() else Outcome(part.module)
        outcome.seconds = round(time.monotonic() - started, 1)
        if code is None:
            outcome.ended = f"stopped after {seconds:.0f} s"
        elif code not in (0, 1, 5):  # of pytest: all passed, some failed, none collected
            outcome.ended = f"ended with exit code {code}"
        return outcome
