"""``clasp-trt router label``: a language model gives prompts their categories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clasp_trt.cli.examples import examples
from clasp_trt.cli.output import json_option, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command(
    "label",
    epilog=examples("clasp-trt router label --model ./llm --data prompts.txt -o labelled.jsonl"),
)
@click.option("--model", required=True, help="Causal language model: Hugging Face folder or hub id.")
@click.option("--data", required=True, type=click.Path(), help="Prompts: one a line, or JSON lines in a .jsonl file.")
@click.option("-o", "--output", required=True, type=click.Path(), help="File to write: the prompts as JSON lines.")
@click.option("--policy", type=click.Path(), help="Policy with the categories [default: the nine of the paper].")
@click.option(
    "--definitions", type=click.Path(), help="What your categories are for: JSON lines of category, definition."
)
@click.option("--device", default="cpu", show_default=True, help="Where torch computes, such as cuda.")
@click.option("--force", is_flag=True, help="Replace a file there.")
@click.option("--restart", is_flag=True, help="Drop the labels of an interrupted run.")
@json_option
def command(
    model: str,
    data: str,
    output: str,
    policy: str | None,
    definitions: str | None,
    device: str,
    force: bool,
    restart: bool,
    as_json: bool,
) -> None:
    """Give each prompt of a file the category that a language model finds likeliest.

    The model can name nothing but a category; its confidence is its share of the probability of all of them.
    """
    from clasp_trt.extras import needing
    from clasp_trt.policy import CATEGORY_NAMES, Policy
    from clasp_trt.storage.apart import keep_apart
    from clasp_trt.tools.routers.definitions import DEFINITIONS, read_definitions
    from clasp_trt.tools.routers.labelling import label

    keep_apart(output, policy, definitions)
    names: Sequence[str] = CATEGORY_NAMES
    if policy is not None:
        names = [category.name for category in Policy.load(policy).categories]
    known = DEFINITIONS if definitions is None else {**DEFINITIONS, **read_definitions(definitions, names)}
    with needing("labelling", "export"), progress_bar() as progress:
        counts = label(
            model, data, output, names, known, device=device, force=force, restart=restart, progress=progress
        )
    if as_json:
        print_json({"output": output, "prompts": sum(counts.values()), "categories": dict(counts)})
    else:
        print_table([(name, str(count)) for name, count in counts.items()])
        click.echo(f"{sum(counts.values())} prompts labelled in {output}; read some of them before you train on them")
