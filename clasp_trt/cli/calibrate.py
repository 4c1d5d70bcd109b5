"""``clasp-trt calibrate``: searches a policy on questions."""

from __future__ import annotations

import shlex
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

import click

from clasp_trt.cli.examples import examples
from clasp_trt.cli.output import json_option, print_json, print_table, progress_bar
from clasp_trt.cli.signals import Stopped

if TYPE_CHECKING:
    from clasp_trt.tools.calibrate import Line, Report
    from clasp_trt.tools.evaluate.statistics import Paired, Share


class RatioList(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on
    """Comma-separated split ratios, such as ``0.2,0.4,0.6,0.8``, taken exactly as written."""

    name = "A,A,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Decimal, ...]:
        if isinstance(value, tuple):
            return value
        try:
            ratios = tuple(Decimal(part.strip()) for part in str(value).split(","))
        except InvalidOperation:
            self.fail(f"{value!r} is not a list of ratios such as 0.2,0.4,0.6,0.8", param, ctx)
        for ratio in ratios:
            if not (ratio.is_finite() and 0 <= ratio <= 1):
                self.fail(f"{ratio} is not a ratio; give numbers from 0 to 1", param, ctx)
        return ratios


@click.command(
    "calibrate",
    epilog=examples("clasp-trt calibrate bundle --data D.jsonl -o policy.json"),
)
@click.argument("bundle", type=click.Path())
@click.option(
    "--data", required=True, type=click.Path(), help="Questions: JSON lines of image, prompt, answer, category."
)
@click.option("-o", "--output", required=True, type=click.Path(), help="Policy file to write.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--questions", type=int, default=100, show_default=True, help="Questions per category to search on.")
@click.option("--held-out", type=int, default=100, show_default=True, help="Others per category to check on.")
@click.option("--ratios", type=RatioList(), help="Split ratios to try [default: 0, 0.1, ..., 1].")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the draw of questions.")
@click.option(
    "--max-new-tokens",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Where an answer stops at the latest.",
)
@click.option("--cache-mb", type=click.IntRange(min=0), default=1024, show_default=True, help="Memory for features.")
@click.option("--threads", type=click.IntRange(min=1), help="Compute threads [default: the usable cores].")
@click.option("--restart", is_flag=True, help="Drop the answers of an interrupted run.")
@json_option
def command(
    bundle: str,
    data: str,
    output: str,
    force: bool,
    questions: int,
    held_out: int,
    ratios: tuple[Decimal, ...] | None,
    seed: int,
    max_new_tokens: int,
    cache_mb: int,
    threads: int | None,
    restart: bool,
    as_json: bool,
) -> None:
    """Search the mixture of vision layers and the split ratio of each category of BUNDLE on questions.

    The bundle itself is not changed: the policy that is written takes the place of its own with --policy.
    """
    from dataclasses import replace

    from clasp_trt.tools.calibrate import Options, calibrate, journal_path

    options = Options(questions, held_out, seed=seed, max_new_tokens=max_new_tokens)
    if ratios is not None:
        options = replace(options, ratios=ratios)
    try:
        with progress_bar() as progress:
            report = calibrate(
                bundle, data, output, options,
                threads=threads, cache_mb=cache_mb, force=force, restart=restart, progress=progress,
            )  # fmt: skip
    except Stopped:
        if (journal := journal_path(output)).exists():
            click.echo(f"answers so far are kept in {journal}; the same command goes on from there", err=True)
        raise
    if as_json:
        print_json({"output": output, **report.to_json()})
    else:
        _tell(report, bundle, output)


def _tell(report: Report, bundle: str, output: str) -> None:
    heads = ("category", "before", "best found", "gain", "tried", "rejected", "row")
    print_table([heads, *map(_row, report.lines)])
    click.echo("accuracy on held-out questions, with 95 % intervals; tried and rejected early on the others")
    for line in report.lines:
        if line.kept is None and line.searched is not None:
            click.echo(f"{line.category}: {line.searched.best}; was {line.searched.before}")
    click.echo(
        f'next: clasp-trt run {shlex.quote(bundle)} --policy {shlex.quote(output)} --image photo.jpg --prompt "..."'
    )


def _row(line: Line) -> tuple[str, ...]:
    found = line.searched
    if found is None:
        return line.category, "-", "-", "-", "-", "-", f"kept: {line.kept} ({line.questions} and {line.held_out})"
    return (
        line.category,
        _percent(found.held_out_before),
        _percent(found.held_out_best),
        _points(found.gain),
        str(found.candidates),
        str(found.rejected),
        "changed" if line.kept is None else f"kept: {line.kept}",
    )


def _percent(share: Share) -> str:
    low, high = share.interval
    return f"{share.value:.1%} ({low:.0%} to {high:.0%})"


def _points(gain: Paired) -> str:
    """A difference in percentage points."""
    if gain.difference_interval is None:
        return f"{100 * gain.difference:+.1f}"
    low, high = gain.difference_interval
    return f"{100 * gain.difference:+.1f} ({100 * low:+.0f} to {100 * high:+.0f})"
