"""``clasp-trt router train``: a router from labelled prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from clasp_trt.cli.examples import examples
from clasp_trt.cli.output import json_option, megabytes, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from clasp_trt.tools.routers.train import Trained


@click.command(
    "train",
    epilog=examples("clasp-trt router train --data labelled.jsonl -o my-router"),
)
@click.option("--data", type=click.Path(), help='Your own: JSON lines of {"prompt", "category"}.')
@click.option("-o", "--output", required=True, type=click.Path(), help="Folder for router.onnx and router.json.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of prompts and training.")
@json_option
def command(data: str | None, output: str, seed: int, as_json: bool) -> None:
    """Train on the prompts that come with this package, and on your own labelled ones, within a minute or two.

    The table is of phrasings that training never saw.
    """
    from clasp_trt.extras import needing

    with needing("training a router", "build"):
        from clasp_trt.tools.routers import train as training

        training.check_output(output, data)
        with progress_bar() as progress:
            trained = training.train(data, seed=seed, progress=progress)
    training.save(trained, output)
    if as_json:
        print_json({"output": output, **_facts(trained)})
        return
    _print(trained)
    click.echo(f"{output}: router.onnx ({megabytes(len(trained.graph))}), router.json")


def _facts(trained: Trained) -> dict[str, Any]:
    model = trained.model
    return {
        "bytes": len(trained.graph),
        "threshold": model.threshold,
        "temperature": model.temperature,
        "provenance": model.provenance,
        "metrics": model.metrics,
    }


def _print(trained: Trained) -> None:
    from clasp_trt.policy import PRIOR_THRESHOLD

    figures: dict[str, Any] = dict(trained.model.metrics)
    rows = [("held-out phrasings", "prompts", "right", "default", "wrong")]
    for name, line in figures["categories"].items():
        rows.append((name, str(line["prompts"]), *(f"{line[key]:.1%}" for key in ("right", "default", "wrong"))))
    print_table(rows)
    kinds = [("kind of phrasing", "prompts", "right", "default", "likeliest right", "confidence", "wrong above 0.9")]
    for name, line in figures["kinds"].items():
        shares = ("right", "default", "likeliest_right", "confidence", "sure_and_wrong")
        kinds.append((name, str(line["prompts"]), *(f"{line[key]:.1%}" for key in shares)))
    click.echo(f"\nat the prior's threshold of {PRIOR_THRESHOLD}, by kind:")
    print_table(kinds)
    click.echo(
        f"right {figures['accuracy']:.1%} ({figures['accuracy_without_threshold']:.1%} without the threshold "
        f"{trained.model.threshold:.2f}); calibration error {figures['calibration_error']:.3f}, "
        f"{figures['calibration_error_raw']:.3f} before the temperature {trained.model.temperature:.2f}"
    )
