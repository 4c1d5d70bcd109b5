"""``clasp-trt route``: the category of a prompt."""

from __future__ import annotations

import click

from clasp_trt.cli.options import prompt_option
from clasp_trt.cli.output import json_option, print_json


@click.command("route", short_help="Show the category of a prompt.")
@prompt_option
@click.option(
    "--policy", type=click.Path(), help="Policy whose categories and threshold apply [default: the nine of the paper]."
)
@json_option
def command(prompt: str, policy: str | None, as_json: bool) -> None:
    """Show which category a prompt falls into, and why."""
    from clasp_trt.policy import CATEGORY_NAMES, PRIOR_THRESHOLD, Policy
    from clasp_trt.runtime.router import RuleRouter

    if policy is None:
        router = RuleRouter(CATEGORY_NAMES, PRIOR_THRESHOLD)
    else:
        loaded = Policy.load(policy)
        router = RuleRouter(tuple(category.name for category in loaded.categories), loaded.threshold)
    route = router.route(prompt)
    if as_json:
        print_json(
            {"category": route.category, "name": route.name, "confidence": route.confidence, "why": list(route.why)}
        )
    else:
        why = f"  because of: {', '.join(route.why)}" if route.why else ""
        click.echo(f"{route.name} (id {route.category}), confidence {route.confidence:.2f}{why}")
