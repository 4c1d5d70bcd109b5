"""``clasp-trt build``: a checkpoint or a portable bundle becomes a bundle for one target."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from clasp_trt.cli.describe import tell
from clasp_trt.cli.options import compile_options
from clasp_trt.cli.output import json_option, progress_bar
from clasp_trt.targets import BACKENDS

if TYPE_CHECKING:
    from clasp_trt.compiler import Options


@click.command("build", short_help="Compile a checkpoint or portable bundle for a target.")
@click.argument("model")
@compile_options
@click.option("--target", default="cpu", show_default=True, help="Device to build for; see `clasp-trt targets`.")
@click.option("--backend", type=click.Choice(BACKENDS), help="What runs it there [default: the target's].")
@json_option
def command(
    model: str, output: str, force: bool, options: Options, target: str, backend: str | None, as_json: bool
) -> None:
    """Compile MODEL, a Hugging Face folder, hub id or portable bundle, into a bundle."""
    from clasp_trt.compiler import compile_bundle

    with progress_bar() as progress:
        bundle = compile_bundle(model, output, options, target=target, backend=backend, force=force, progress=progress)
    tell(bundle, as_json)
    if not as_json:
        click.echo(f'next: clasp-trt run {shlex.quote(output)} --image photo.jpg --prompt "..."')
