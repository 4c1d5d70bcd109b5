"""``clasp-trt router``: makes routers, and what they are made from."""

from __future__ import annotations

import click

from clasp_trt.cli.lazy import LazyGroup

COMMANDS = {
    "train": "Train a router on the built-in prompts and your own.",
    "label": "Label prompts with a language model.",
    "import": "Make a router of a Hugging Face text classifier.",
}


@click.group("router", cls=LazyGroup, home=f"{__name__}_", lines=COMMANDS, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Make a router for `build`, `run` and `route`, and what one is made from."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
