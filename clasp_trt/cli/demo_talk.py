"""What ``clasp-trt demo`` says: answers side by side in columns, and what they amount to."""

from __future__ import annotations

import shlex
import shutil
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clasp_trt.cli.output import print_table

if TYPE_CHECKING:
    from clasp_trt.runtime.answer import Answer
    from clasp_trt.runtime.result import Result
    from clasp_trt.schedule import Schedule
    from clasp_trt.tools.demo.asking import Score
    from clasp_trt.tools.demo.bundles import Built
    from clasp_trt.tools.evaluate.dataset import Row


class Silent:
    """What is said while the demo runs for a program: nothing."""

    def open(self, model: Path, folder: Path, built: Built) -> None: ...

    def question(self, row: Row) -> None: ...

    def answer(self, row: Row, running: Answer) -> Result:
        """Lets an answer run to its end."""
        return running.result

    def end(self) -> None: ...

    def close(self, picture: Path, scores: Mapping[str, Score]) -> None: ...


class Spoken(Silent):
    """The same for people: answers stream into columns, one for each bundle, that fit the terminal."""

    def __init__(self, schedules: Mapping[str, Schedule]) -> None:
        self._schedules = schedules
        self._width = shutil.get_terminal_size().columns
        self._cell = max(20, self._width // len(schedules))
        self._gap = 0  # blanks up to the next column, written only if something follows
        encoding = (getattr(sys.stdout, "encoding", None) or "").lower()
        self._marks = {True: "✓", False: "✗"} if encoding.startswith("utf") else {True: "+", False: "-"}

    def open(self, model: Path, folder: Path, built: Built) -> None:
        self._wrapped(f"{'built' if built.fresh else 'found'} {len(built.bundles)} bundles of {model} in {folder}")
        print_table([[f"  {name}", _tokens(schedule)] for name, schedule in self._schedules.items()])
        click.echo()
        self._wrapped(
            "A question of each category, which is given rather than routed. Beside each answer: whether it is right, "
            "and the time to its first token after a warm-up."
        )
        click.echo()
        click.echo("".join(name.ljust(self._cell) for name in self._schedules).rstrip())

    def question(self, row: Row) -> None:
        click.echo()
        self._gap = 0
        self._wrapped(f"{row.prompt} ({row.category}, {row.answer})")

    def answer(self, row: Row, running: Answer) -> Result:
        """Streams an answer into its column, cut where it would leave it, and says whether it is right."""
        from clasp_trt.tools.evaluate.scoring import matches

        click.echo(" " * self._gap, nl=False)
        room, written = self._cell - 13, 0
        for piece in running:
            part = "".join(letter if letter.isprintable() else " " for letter in piece)[: room - written]
            click.echo(part, nl=False)
            written += len(part)
        result = running.result
        right = matches(result.text, row.answer)
        click.secho(f" {self._marks[right]}", fg="green" if right else "red", nl=False)
        time = f" {result.timings_ms['ttft']:.0f} ms"
        click.echo(time, nl=False)
        self._gap = max(1, self._cell - written - 2 - len(time))
        return result

    def end(self) -> None:
        click.echo()

    def close(self, picture: Path, scores: Mapping[str, Score]) -> None:
        """The figures of all questions, and where to look next."""
        schedules = self._schedules
        click.echo()
        print_table(
            [
                ["", *schedules],
                ["right answers", *(f"{score.right} of {score.questions}" for score in scores.values())],
                ["median time to first token", *(f"{score.ttft_ms:.1f} ms" for score in scores.values())],
                ["mean visual tokens", *(f"{schedule.mean_tokens:.1f}" for schedule in schedules.values())],
            ]
        )
        whole, *pruned = (score.ttft_ms for score in scores.values())
        if min(pruned) >= whole:
            click.echo()
            self._wrapped(
                "A model of this size answers so fast that the stages cost as much as they save: look at the answers "
                "here, and at the README for what pruning saves a large one."
            )
        click.echo(f"\nwhat was kept: {picture}")
        bundle = shlex.quote(str(picture.parent / list(schedules)[-1]))
        click.echo(f'next: clasp-trt show {bundle} --image photo.jpg --prompt "..." -o photo-kept.png')

    def _wrapped(self, text: str) -> None:
        click.echo(textwrap.fill(text, self._width, break_long_words=False, break_on_hyphens=False))


def _tokens(schedule: Schedule) -> str:
    """The visual tokens of a bundle, from stage to stage."""
    if not schedule.stages:
        return f"{schedule.tokens} visual tokens in every layer"
    steps = " -> ".join(map(str, (schedule.tokens, *schedule.keeps)))
    return f"{steps} visual tokens, {schedule.mean_tokens:.1f} on average over {schedule.layers} layers"
