"""``python -m benchmarks.peers``: every peer in turn; ``install PEER`` makes an environment of one (docs/peers.md)."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click
from PIL import Image

from benchmarks.peers import goals, table
from benchmarks.peers.install import INSTALLED, install, interpreter, missing
from benchmarks.peers.lineup import QWEN, Entrant, chosen
from benchmarks.peers.machine import machine
from benchmarks.peers.models import by_command, model
from benchmarks.peers.page import figures, fill
from benchmarks.peers.rounds import Taken, measure
from benchmarks.ttft_cpu import PHOTO, PROMPT
from benchmarks.worker import Sample, Worker

SQUARE = 672
"""Pixels of a side of the picture that the Qwen2-VL shape sees: 576 visual tokens, as of LLaVA-1.5."""
LIMIT_S = 600.0


class Started(Worker):
    """A worker that is always asked the same."""

    image = PHOTO

    def ask(self, new_tokens: int) -> Sample:
        """Answers about the picture of its shape."""
        return self.run(self.image, PROMPT, new_tokens)


def start(entrant: Entrant, threads: int, *, folder: Path, models: Mapping[str, Path]) -> Started:
    """The entrant as a process of its environment; what it prints is added to a log of its own in ``folder``."""
    whole = models[entrant.model.name]
    child = Started(
        entrant.module,
        *map(str, [whole / file for file in entrant.files] or [whole]),
        *entrant.options,
        threads=threads,
        python=interpreter(folder, entrant.model.peer),
        log=folder / "logs" / f"{entrant.name}.log",
        limit_s=LIMIT_S,
    )
    if entrant.model.shape == QWEN:
        child.image = square(folder)
    return child


def square(folder: Path) -> Path:
    """The picture of :data:`SQUARE`, made unless it is there."""
    path = folder / f"{SQUARE}.png"
    if not path.is_file():
        with Image.open(PHOTO) as picture:
            picture.convert("RGB").resize((SQUARE, SQUARE), Image.Resampling.BICUBIC).save(path)
    return path


def ready(entrants: Sequence[Entrant], folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """The models of the entrants, by name, and why those that have none are left out, by the entrant's name."""
    models: dict[str, Path] = {}
    without: dict[str, str] = {}
    for each in entrants:
        if reason := missing(folder, each.model.peer):
            without[each.name] = reason
            continue
        try:
            if each.model.name not in models:
                click.echo(f"{each.name}: its model", err=True)
                models[each.model.name] = model(folder, each.model, by_command)
        except (OSError, RuntimeError) as error:
            without[each.name] = str(error)
    return models, without


def told(taken: Sequence[Taken], without: Mapping[str, str], settings: Mapping[str, object]) -> dict[str, Any]:
    """All that was measured until now, as JSON has it."""
    found = table.rows(taken)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": asdict(machine()),
        "settings": settings,
        "versions": {each.entrant.model.peer: each.versions for each in taken if each.versions},
        "rows": [asdict(row) for row in found],
        "left_out": {**without, **table.left_out(taken)},
        "goals": goals.judged(found),
        "samples": {
            each.entrant.name: [{k: v for k, v in asdict(s).items() if k != "tokens"} for s in each.samples]
            for each in taken
        },
    }


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clasp-trt" / "peers"


@click.group(invoke_without_command=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--new-tokens", type=click.IntRange(min=4), default=32, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="Of every peer [default: its best, tried up to all cores].")
@click.option("--only", multiple=True, metavar="NAME", help="Rows with this in their name; may repeat.")
@click.option("--quick", is_flag=True, help="A few rows of each peer.")
@click.option("--prepare", is_flag=True, help="Make the models, and measure nothing.")
@click.option("--json", "to", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures here.")
@click.option("--plot", "drawn", type=click.Path(dir_okay=False, path_type=Path), help="Draw the table here.")
@click.option("--page", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Write the table there.")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="Checkpoints, models, environments.")
@click.pass_context
def main(
    context: click.Context,
    rounds: int,
    new_tokens: int,
    threads: int | None,
    only: tuple[str, ...],
    quick: bool,
    prepare: bool,
    to: Path | None,
    drawn: Path | None,
    page: Path | None,
    folder: Path | None,
) -> None:
    """Time to first token, time per token and peak memory of every peer, in turn."""
    folder = (folder or _folder()).absolute()
    context.obj = folder
    if context.invoked_subcommand is not None:
        return
    try:
        entrants = chosen(only, quick=quick)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    models, without = ready(entrants, folder)
    for name, reason in without.items():
        click.echo(f"{name} is left out: {reason}", err=True)
    if prepare:
        return
    settings = {"rounds": rounds, "new_tokens": new_tokens, "threads": threads}

    def kept(taken: Sequence[Taken]) -> None:
        if to is not None:
            to.write_text(json.dumps(told(taken, without, settings), indent=1) + "\n", encoding="utf-8")

    taken = measure(
        [each for each in entrants if each.name not in without],
        partial(start, folder=folder, models=models),
        rounds=rounds,
        new_tokens=new_tokens,
        threads=[threads] if threads else range(1, machine().cores + 1),
        say=lambda line: click.echo(line, err=True),
        after_round=kept,
    )
    content = told(taken, without, settings)
    click.echo(figures(content))
    if page is not None:
        fill(page, content)
    if drawn is not None:
        from benchmarks.peers.plot import plot

        plot(table.rows(taken), drawn)


@main.command("install")
@click.argument("peer", type=click.Choice(INSTALLED))
@click.pass_obj
def install_peer(folder: Path, peer: str) -> None:
    """Make the environment of PEER, with the versions of benchmarks/peers/requirements."""
    try:
        click.echo(install(folder, peer))
    except (OSError, subprocess.CalledProcessError) as error:
        raise click.ClickException(f"{peer} could not be installed: {error}") from error


if __name__ == "__main__":
    main()
