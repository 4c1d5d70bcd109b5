"""The page ``docs/gpu-results.md``: every figure and judgement in it is computed from the results, gaps included."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tests.gpu.harness.results import PARTS, Outcome, Results

COMMAND = "make gpu-check"
_NOTHING = f"""\
**Nothing of this project has run on a GPU yet.** What can be shown without one has been: the kernels compile for each
architecture and, compiled for the host, agree with the reference on thousands of cases; engines are built.
`{COMMAND}` runs all that is listed below on a machine with a CUDA device, and writes this page from what it finds."""


def page(results: Results | None) -> str:
    """The text of the page; ``results`` is None as long as nothing has run."""
    if results is None:
        return _text(["# Results on a GPU", _NOTHING, "## Never run on a GPU", _bullets(_never(None))])
    failed = [outcome for outcome in results.outcomes if outcome.verdict == "failed"]
    parts = ["# Results on a GPU", _intro(results), "## What ran", _ran(results)]
    if failed:
        parts += ["## What failed", _bullets(line for outcome in failed for line in _failures(outcome))]
    timings = results.facts("timing")
    if timings:
        parts += ["## Selection, timed", _how_timed(timings), *(_timing(each) for each in timings)]
        parts += ["### Goals", _goals(timings)]
    parts += ["## Never run on a GPU", _bullets(_never(results))]
    return _text(parts)


def _text(parts: Sequence[str]) -> str:
    return "\n\n".join(parts) + "\n"


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> str:
    """A Markdown table; the last ``numbers`` columns stand to the right."""
    rule = ["---"] * (len(head) - numbers) + ["---:"] * numbers
    lines = [_row(head), f"|{'|'.join(rule)}|"]
    return "\n".join([*lines, *(_row([cell.replace("|", "\\|") for cell in row]) for row in rows)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _intro(results: Results) -> str:
    here = results.environment
    rows = [
        ("date", f"{results.date} UTC"),
        ("command", f"`{results.command}`"),
        ("device", f"{here.device}, SM {here.capability}, {here.multiprocessors} multiprocessors"),
        ("memory", f"{here.memory_gb:g} GB, {here.l2_mb:g} MB of L2"),
        ("driver", f"{here.driver}, CUDA {here.cuda}"),
        *here.versions.items(),
    ]
    return _table(("", ""), rows)


def _ran(results: Results) -> str:
    rows = []
    for part in PARTS:
        outcome = results.of(part.module)
        skipped = sum(outcome.skipped.values())
        counts = (str(outcome.passed), str(len(outcome.failed)), str(skipped), f"{outcome.seconds:.0f} s")
        rows.append((part.proves, outcome.verdict, *counts))
    return _table(("what", "result", "passed", "failed", "skipped", "time"), rows, numbers=4)


def _failures(outcome: Outcome) -> list[str]:
    cut = [] if outcome.ended == "complete" else [f"{outcome.module}: {outcome.ended}"]
    return [*outcome.failed, *cut]


def _never(results: Results | None) -> list[str]:
    """What is still to be shown on a GPU, in whole or in part, with the reason where something was tried."""
    lines = []
    for part in PARTS:
        outcome = None if results is None else results.of(part.module)
        if outcome is None or outcome.verdict == "not run":
            reason = f": {'; '.join(outcome.gaps)}" if outcome else ""
            lines.append(f"{part.proves}{reason}")
        elif outcome.gaps:
            lines.append(f"of {part.proves}: {'; '.join(outcome.gaps)}")
    here = "a GPU of any kind" if results is None else f"a GPU other than {results.environment.device}"
    return [*lines, f"{here}, Jetson Orin among them"]


def _how_timed(timings: Sequence[Any]) -> str:
    first = timings[0]
    return (
        f"Milliseconds between CUDA events, medians of {first['samples']} samples in {first['rounds']} rounds in which "
        "all take turns. *Cold*: a buffer twice the size of the L2 was written just before. *Warm*: the same work ran "
        "just before. All but those called eager are replays of a CUDA graph. *Same tokens* is the share of the "
        "reference's choices that an implementation made as well; members that tie for a cluster's medoid count alike."
    )


def _timing(timing: Any) -> str:
    rows = []
    for row in timing["rows"]:
        rows.append((row["name"], f"{row['agreement']:.1%}", f"{row['cold_ms']:.4f}", f"{row['warm_ms']:.4f}"))
    table = _table(("", "same tokens", "cold, ms", "warm, ms"), rows, numbers=3)
    absent = "".join(f"\n\nNot measured: {name}, {reason}." for name, reason in timing["absent"].items())
    return f"### {timing['name']}\n\n{table}{absent}"


def _goals(timings: Sequence[Any]) -> str:
    rows = []
    for timing in timings:
        ours, *peers = timing["rows"]
        for goal in timing["goals"]:
            met = "met" if ours["cold_ms"] <= goal["ms"] else "**missed**"
            rows.append((timing["name"], goal["words"], f"{goal['ms']:.4f}", f"{ours['cold_ms']:.4f}", met))
        peers = [row for row in peers if row["agreement"] >= timing["same"]]
        if peers:
            best = min(peers, key=lambda row: row["cold_ms"])
            met = "met" if ours["cold_ms"] < best["cold_ms"] else "**missed**"
            words = f"faster than every peer that computes the same, the best being {best['name']}"
            rows.append((timing["name"], words, f"{best['cold_ms']:.4f}", f"{ours['cold_ms']:.4f}", met))
    return _table(("", "goal", "at most, ms", "cold, ms", ""), rows)
