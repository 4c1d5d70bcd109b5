"""``clasp-trt export``: the portable half of build."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from clasp_trt.cli.describe import tell
from clasp_trt.cli.examples import examples
from clasp_trt.cli.options import build_memory_option, compile_options, revision_option
from clasp_trt.cli.output import json_option, progress_bar

if TYPE_CHECKING:
    from clasp_trt.options import Options


@click.command(
    "export",
    epilog=examples("clasp-trt export ./checkpoint -o portable --budget 192 --precision fp16"),
)
@click.argument("model")
@revision_option
@compile_options
@build_memory_option
@json_option
def command(
    model: str,
    revision: str | None,
    output: str,
    force: bool,
    options: Options,
    max_build_memory: float | None,
    as_json: bool,
) -> None:
    """Export MODEL, a Hugging Face folder or hub id, to portable ONNX graphs."""
    from clasp_trt.options import EngineOptions
    from clasp_trt.tools.build.compiler import compile_bundle

    engines = EngineOptions(max_build_memory=max_build_memory)
    with progress_bar() as progress:
        built = compile_bundle(
            model, output, options, target=None, engines=engines, revision=revision, force=force, progress=progress
        )
    tell(built.bundle, as_json)
    if not as_json:
        click.echo(f"next, on the device: clasp-trt build {shlex.quote(output)} -o BUNDLE --target TARGET")
