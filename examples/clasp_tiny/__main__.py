"""``python -m examples.clasp_tiny OUT``: trains the model and writes it as a Hugging Face checkpoint."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the training's own checkpoints; a run that was stopped goes on from there [default: OUT.training].",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--workers", type=click.IntRange(1, 2), default=min(2, os.cpu_count() or 1), help="Processes.")
@click.option("--compile/--no-compile", "compiled", default=True, help="torch.compile, which needs a C++ compiler.")
def main(out: Path, work: Path | None, seed: int, workers: int, compiled: bool) -> None:
    """Train clasp-tiny and write the checkpoint OUT; progress goes to standard output, a JSON object a line."""
    from examples.clasp_tiny import checkpoint
    from examples.clasp_tiny.train import train

    work = work or out.with_name(f"{out.name}.training")
    try:
        checkpoint.check(out)  # before an hour of work
        train(work, seed=seed, workers=workers, compiled=compiled)
        checkpoint.write(work / "trained.pt", out)
    except checkpoint.CheckpointError as error:
        raise click.UsageError(str(error)) from error
    click.echo(out)


if __name__ == "__main__":
    main()
