"""What commands share in talking: JSON for programs, tables and a progress bar for people."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from clasp_trt.cli.signals import stop_if_asked
from clasp_trt.progress import Progress

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")

_WIDTH = 30


def print_json(value: object) -> None:
    """Prints ``value`` as one JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Prints rows of equal length with their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar on standard error while the block runs; silent unless that is a terminal.

    Each step is also a place to stop, should a signal have come that a library swallowed.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # nor do downloads draw into a pipe
        yield lambda phase, done, total: stop_if_asked()
        return
    shown = ""

    def update(phase: str, done: int, total: int) -> None:
        nonlocal shown
        stop_if_asked()
        part = min(1.0, done / total) if total else 1.0
        filled = round(part * _WIDTH)
        line = f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {part:4.0%}  {phase}"
        line = line[: shutil.get_terminal_size().columns - 1]  # a line that wraps could not be taken back
        if line != shown:
            click.echo(f"\r\x1b[K{line}", nl=False, err=True)
            shown = line

    try:
        yield update
    finally:
        if shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def megabytes(count: int) -> str:
    """Bytes as megabytes for people."""
    return f"{count / 1e6:.1f} MB"
