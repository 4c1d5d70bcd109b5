"""``clasp-trt router``: makes routers, and what they are made from."""

from __future__ import annotations

import click

from clasp_trt.cli.lazy import LazyGroup

COMMANDS = ("train", "label", "import")


class _Commands(LazyGroup):
    modules = {name: f"clasp_trt.cli.router_{name}" for name in COMMANDS}  # noqa: RUF012  click's own way


@click.group(
    "router",
    cls=_Commands,
    invoke_without_command=True,
    short_help="Make a router: train one, label prompts, import a classifier.",
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Make a router for `build`, `run` and `route`, and what one is made from."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
