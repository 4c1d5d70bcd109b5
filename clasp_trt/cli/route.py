"""``clasp-trt route``: the category of a prompt, or of a file of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from clasp_trt.cli.examples import examples
from clasp_trt.cli.numbers import ends
from clasp_trt.cli.output import json_option, print_json, print_table
from clasp_trt.cli.signals import stop_if_asked

if TYPE_CHECKING:
    from clasp_trt.runtime.routing.router import Route, Router
    from clasp_trt.tools.routers.agreement import Agreement

_BAR = 30
_SHOWN = 72  # characters of a prompt in a list


@click.command(
    "route",
    epilog=examples(
        'clasp-trt route --prompt "How many people are there?"',
        "clasp-trt route --router my-router --file prompts.jsonl",
    ),
)
@click.option("--prompt", help="The question or instruction.")
@click.option("--file", "path", type=click.Path(), help="Many: one a line, or JSON lines in a .jsonl file.")
@click.option("--router", "folder", type=click.Path(), help="Router folder, or a bundle's [default: the shipped one].")
@click.option(
    "--policy",
    type=click.Path(),
    help="Policy whose categories and threshold apply [default: the router's own, or the nine of the paper].",
)
@json_option
def command(prompt: str | None, path: str | None, folder: str | None, policy: str | None, as_json: bool) -> None:
    """Show which category a prompt falls into, how likely each is, and why.

    With --file, every prompt of a file on a line of its own (and with --json a JSON object on each); where the file
    names categories, also how often the router agrees with them, and what it takes for what.
    """
    from clasp_trt.errors import PromptError

    if (prompt is None) == (path is None):
        raise click.UsageError("give --prompt, or --file with many")
    if prompt is not None and not prompt.strip():
        raise PromptError("the prompt is empty; ask something")
    router = _router(folder, policy)
    if prompt is not None:
        _one(router, prompt, as_json)
    elif path is not None:
        _many(router, path, as_json)


def _router(folder: str | None, policy: str | None) -> Router:
    from clasp_trt.policy import PRIOR_THRESHOLD, Policy
    from clasp_trt.runtime.routing.folder import SHIPPED, RouterSpec, load_router, router_for

    if policy is not None:
        return router_for(Policy.load(policy), folder=folder)
    found = SHIPPED if folder is None else folder
    return load_router(found, RouterSpec.read(found).categories, PRIOR_THRESHOLD)


def _one(router: Router, prompt: str, as_json: bool) -> None:
    from clasp_trt.tools.routers.explain import influences

    route = router.route(prompt)
    # a router without reasons of its own is asked what it would say without each word
    why = route.why or tuple(f"{word!r} +{share:.2f}" for word, share in influences(router, prompt, route))
    if as_json:
        print_json({**_json(route, router.names), "why": list(why)})
        return
    because = f"  because of: {', '.join(why)}" if why else ""
    click.echo(f"{route.name} (id {route.category}), confidence {route.confidence:.2f}{because}")
    click.echo()
    print_table(
        [
            (str(index), name, f"{share:.2f}", "#" * round(_BAR * share))
            for index, (name, share) in enumerate(zip(router.names, route.probabilities, strict=True))
        ]
    )


def _many(router: Router, path: str, as_json: bool) -> None:
    from clasp_trt.tools.routers.agreement import Agreement
    from clasp_trt.tools.routers.prompt_files import check_categories, read_prompts

    prompts = read_prompts(path)
    check_categories(prompts, path, router.names)
    pairs = []
    width = max(map(len, router.names))
    for prompt in prompts:
        stop_if_asked()
        route = router.route(prompt.text)
        if prompt.category is not None:
            pairs.append((prompt.category, route.name))
        if as_json:
            told = {} if prompt.category is None else {"expected": prompt.category}
            row = {"prompt": prompt.text, **told, **_json(route, router.names)}
            click.echo(json.dumps(row, ensure_ascii=False))
        else:
            click.echo(f"{route.name:<{width}}  {route.confidence:.2f}  {_brief(prompt.text)}")
    if pairs and not as_json:
        click.echo()
        _tell(Agreement.of(router.names, pairs))


def _tell(agreement: Agreement) -> None:
    from clasp_trt.tools.evaluate.statistics import Share

    share = Share(agreement.right, agreement.total)
    click.echo(
        f"{agreement.right} of {agreement.total} right: {100 * share.value:.1f} % {ends(share.interval)}; "
        f"{agreement.fallbacks} went to {agreement.names[-1]} instead, {agreement.wrong} to a wrong category"
    )
    click.echo()
    asked = [(at, row) for at, row in enumerate(agreement.counts) if any(row)]
    head = ("expected", *(f"{at:>4}" for at in range(len(agreement.names))))
    print_table([head, *((f"{at} {agreement.names[at]} ({sum(row)})", *_cells(row)) for at, row in asked)])


def _cells(row: Sequence[int]) -> list[str]:
    return [f"{count or '.':>4}" for count in row]


def _json(route: Route, names: Sequence[str]) -> dict[str, object]:
    return {
        "category": route.category,
        "name": route.name,
        "confidence": route.confidence,
        "why": list(route.why),
        "probabilities": dict(zip(names, route.probabilities, strict=True)),
    }


def _brief(prompt: str) -> str:
    line = "".join(character if character.isprintable() else " " for character in prompt)
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 3]}..."
