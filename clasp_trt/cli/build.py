"""``clasp-trt build``: a checkpoint or a portable bundle becomes a bundle for one target."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from clasp_trt.cli.describe import describe, summary
from clasp_trt.cli.examples import examples
from clasp_trt.cli.options import build_memory_option, compile_options, revision_option, slots_option
from clasp_trt.cli.output import json_option, print_json, progress_bar
from clasp_trt.targets import BACKENDS, COMPILED

if TYPE_CHECKING:
    from clasp_trt.bundle import Bundle
    from clasp_trt.options import Options


@click.command(
    "build",
    epilog=examples(
        "clasp-trt build llava-hf/llava-1.5-7b-hf -o bundle --budget 192",
        "clasp-trt build ./checkpoint -o baseline --prune-at none",
        "clasp-trt build portable -o bundle --target orin-agx-64",
    ),
)
@click.argument("model")
@revision_option
@compile_options
@click.option("--target", default="cpu", show_default=True, help="Device to build for; see `clasp-trt targets`.")
@click.option("--backend", type=click.Choice(BACKENDS), help="What runs it there [default: the target's].")
@click.option(
    "--sm", multiple=True, help="Compute capability to compile for, such as 8.9; may repeat [default: the target's]."
)
@click.option(
    "--max-prompt",
    type=int,
    help="Engines: longest text of a prompt in tokens [default: 512, or what the context leaves].",
)
@slots_option
@build_memory_option
@click.option("--cache/--no-cache", default=True, help="Engines: use again what was built before [default: yes].")
@click.option("--plugins", is_flag=True, help="Engines: select tokens by CUDA kernels instead of standard operators.")
@json_option
def command(
    model: str,
    revision: str | None,
    output: str,
    force: bool,
    options: Options,
    target: str,
    backend: str | None,
    sm: tuple[str, ...],
    max_prompt: int | None,
    slots: int | None,
    max_build_memory: float | None,
    cache: bool,
    plugins: bool,
    as_json: bool,
) -> None:
    """Compile MODEL, a Hugging Face folder, hub id or portable bundle, into a bundle."""
    from clasp_trt.options import EngineOptions
    from clasp_trt.tools.build.compiler import compile_bundle

    engines = EngineOptions(
        sms=sm, max_prompt=max_prompt, max_build_memory=max_build_memory, cache=cache, plugins=plugins
    )
    with progress_bar() as progress:
        built = compile_bundle(
            model, output, options, target=target, backend=backend, engines=engines, slots=slots, revision=revision,
            force=force, progress=progress,
        )  # fmt: skip
    bundle, reused = built.bundle, built.reused
    if reused:
        every = len(bundle.manifest.graphs)
        click.echo(f"{len(reused)} of {every} engines are from the cache; --no-cache builds all", err=True)
    if as_json:
        engines_built = bundle.manifest.backend in COMPILED
        print_json({**describe(bundle), **({"engines_reused": sorted(reused)} if engines_built else {})})
        return
    click.echo(summary(bundle))
    click.echo(_next(bundle, output))


def _next(bundle: Bundle, output: str) -> str:
    if bundle.manifest.backend in COMPILED:
        return f"next: clasp-trt inspect {shlex.quote(output)} --engines"
    return f'next: clasp-trt run {shlex.quote(output)} --image photo.jpg --prompt "..."'
