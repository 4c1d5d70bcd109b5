"""The figures of a run between two marks of docs/peers.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers import goals, table
from benchmarks.peers.table import Row

BEGIN, END = "<!-- figures: written by --page -->", "<!-- end of figures -->"


def figures(content: Mapping[str, Any]) -> str:
    """What a run's JSON says, in Markdown."""
    machine, settings = content["machine"], content["settings"]
    rows = [Row(**row) for row in content["rows"]]
    told = ", ".join(f"{name} {'yes' if has else 'no'}" for name, has in machine["features"].items())
    versions = {name: version for each in content["versions"].values() for name, version in each.items()}
    parts = [
        f"{content['date'][:10]}, {machine['cores']} cores of {machine['cpu']} ({told}); medians of "
        f"{settings['rounds']} rounds, {settings['new_tokens']} new tokens an answer.",
        table.text(rows, content["left_out"]),
        goals.text(content["goals"]),
    ]
    if versions:
        parts.append("Versions: " + ", ".join(f"{name} {each}" for name, each in sorted(versions.items())) + ".")
    return "\n\n".join(parts)


def filled(page: str, content: Mapping[str, Any]) -> str:
    """``page`` with these figures between its marks. Raises ValueError when it does not have both, in order."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no lines {BEGIN!r} and {END!r}, between which figures are written")
    return f"{before}{BEGIN}\n\n{figures(content)}\n\n{END}{after}"


def fill(path: Path, content: Mapping[str, Any]) -> None:
    """Writes :func:`filled` back to ``path``."""
    path.write_text(filled(path.read_text(encoding="utf-8"), content), encoding="utf-8")
