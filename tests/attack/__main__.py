"""``python -m tests.attack``: corrupted bundles, hostile prompts, broken pictures, kills, and a table of what held.

Equal seeds throw the same: a failure is replayed by its kind, seed and number.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.attack.campaign import Outcome, campaign, throw
from tests.attack.kinds import KINDS, MINUTES
from tests.house import ROOT
from tests.started import own_environment

SHOWN = 40


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command; 1 if anything failed."""
    options = parsed(words)
    wanted = [kind for kind in KINDS if options.only in (None, kind.name)]
    with tempfile.TemporaryDirectory(prefix="attack-") as folder:
        material = Path(folder) if options.material is None else options.material
        if options.material is None:
            _make(material)
        if options.number is not None:
            numbers = range(options.number, options.number + 1)
            outcomes = [throw(kind, material, options.seed, numbers, 600) for kind in wanted]
        else:
            outcomes = [campaign(kind, material, options.seed, options.minutes) for kind in wanted]
    if options.json:
        print(json.dumps({"seed": options.seed, "kinds": [each.to_json() for each in outcomes]}, indent=1))
    else:
        print(table(outcomes))
        print(told(outcomes, options.seed), end="")
    return int(any(each.failures for each in outcomes))


def table(outcomes: Sequence[Outcome]) -> str:
    """One line a kind, in Markdown."""
    lines = ["| kind | tried | held | failed | growth of memory |", "|---|---:|---:|---:|---:|"]
    lines += [
        f"| {each.kind} | {each.tried} | {each.held} | {len(each.failures)} | {each.growth / 1e6:.1f} MB |"
        for each in outcomes
    ]
    return "\n".join(lines)


def told(outcomes: Sequence[Outcome], seed: int) -> str:
    """What failed, and how each is thrown again."""
    lines = []
    for each in outcomes:
        for number, what in each.failures[:SHOWN]:
            lines.append(f"\n{each.kind} {number}: {what}")
            lines.append(f"  python -m tests.attack --only {each.kind} --seed {seed} --number {number}")
        if len(each.failures) > SHOWN:
            lines.append(f"\n{each.kind}: {len(each.failures) - SHOWN} more; --json has them all")
    return "".join(f"{line}\n" for line in lines)


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    """The options of a command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long at most; tries are in proportion")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[kind.name for kind in KINDS], help="this kind alone")
    parser.add_argument("--number", type=int, help="this try alone")
    parser.add_argument("--material", type=Path, help="folder with portable/ and bundle/ in place of fresh ones")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(words)
    if not options.minutes > 0:
        parser.error(f"--minutes is {options.minutes:g}; expected more than 0")
    return options


def _make(material: Path) -> None:
    """In a process of its own, for torch is large."""
    subprocess.run(
        [sys.executable, "-m", "tests.attack.material", str(material)],
        cwd=ROOT,
        env=own_environment(PYTHONPATH=str(ROOT)),
        check=True,
        stdout=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    sys.exit(main())
