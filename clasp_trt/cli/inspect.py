"""``clasp-trt inspect``: what a bundle holds."""

from __future__ import annotations

import click

from clasp_trt.cli.describe import profiles, tell
from clasp_trt.cli.examples import examples
from clasp_trt.cli.output import json_option, progress_bar


@click.command(
    "inspect",
    epilog=examples("clasp-trt inspect bundle --verify"),
)
@click.argument("bundle", type=click.Path())
@click.option("--graphs", is_flag=True, help="Also list every graph's inputs and outputs.")
@click.option("--engines", is_flag=True, help="Also list the sizes that every engine takes.")
@click.option("--verify", is_flag=True, help="Check every file's hash first.")
@json_option
def command(bundle: str, graphs: bool, engines: bool, verify: bool, as_json: bool) -> None:
    """Show what BUNDLE holds: model, pruning schedule, policy, segments, engines, files."""
    from clasp_trt.bundle import Bundle

    opened = Bundle.open(bundle)
    if verify:
        with progress_bar() as progress:
            opened.verify(lambda done, total: progress("verify", done, total))
    tell(opened, as_json)
    for graph in opened.manifest.graphs if graphs and not as_json else ():
        click.echo(f"\n{graph.name}  ({graph.path})")
        for side, ports in (("in ", graph.inputs), ("out", graph.outputs)):
            for port in ports:
                click.echo(f"  {side} {port.name}: {port.dtype}[{', '.join(map(str, port.shape))}]")
    compiled = opened.manifest.engines
    for engine in compiled.engines if compiled is not None and engines and not as_json else ():
        held = f"  plugins {', '.join(engine.plugins)}" if engine.plugins else ""
        click.echo("\n".join((f"\n{engine.graph}  ({engine.path}){held}", *profiles(engine))))
