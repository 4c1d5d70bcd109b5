"""``clasp-trt router import``: a text classifier from Hugging Face becomes a router."""

from __future__ import annotations

from collections.abc import Sequence

import click

from clasp_trt.cli.examples import examples
from clasp_trt.cli.output import json_option, print_json, progress_bar


@click.command(
    "import",
    epilog=examples('clasp-trt router import ./classifier -o my-router --map "LABEL_0=counting"'),
)
@click.argument("model")
@click.option("-o", "--output", required=True, type=click.Path(), help="Folder to write the router to.")
@click.option("--map", "pairs", multiple=True, metavar="LABEL=CATEGORY", help="What a label stands for; may repeat.")
@click.option("--policy", type=click.Path(), help="Policy with the categories [default: the nine of the paper].")
@click.option(
    "--max-tokens", type=int, help="Longest prompt that is read whole [default: 128, or what the model takes]."
)
@click.option("--force", is_flag=True, help="Replace an existing router.")
@json_option
def command(
    model: str,
    output: str,
    pairs: tuple[str, ...],
    policy: str | None,
    max_tokens: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Export MODEL, a text classification folder or hub id, as a router. Labels that are names of categories need no
    --map."""
    from clasp_trt.errors import RouterError
    from clasp_trt.extras import needing
    from clasp_trt.policy import CATEGORY_NAMES, Policy
    from clasp_trt.tools.routers.importer import import_classifier

    names: Sequence[str] = CATEGORY_NAMES
    if policy is not None:
        names = [category.name for category in Policy.load(policy).categories]
    mapping = {}
    for pair in pairs:
        label, separator, category = pair.partition("=")
        if not separator or label in mapping:
            raise RouterError(f"--map {pair}: expected LABEL=CATEGORY, once for each label")
        mapping[label] = category
    with needing("importing a classifier", "export"), progress_bar() as progress:
        spec = import_classifier(
            model, output, names, mapping=mapping, max_tokens=max_tokens, force=force, progress=progress
        )
    if as_json:
        print_json({"router": output, "kind": spec.kind, **spec.fields, "unreached": list(spec.unreached)})
        return
    click.echo(f"{output}: a {spec.kind} made from {spec.fields['source']}, {len(names)} categories")
    if spec.unreached:
        click.echo(f"no label stands for {', '.join(spec.unreached)}; prompts of that kind go elsewhere")
    click.echo(f'next: clasp-trt route --router {output} --prompt "How many people are there?"')
