"""``clasp-trt verify``: whether a bundle is whole, and computes what its checkpoint computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clasp_trt.cli.examples import examples
from clasp_trt.cli.options import image_options, pictures, provider_option, revision_option
from clasp_trt.cli.output import json_option, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from clasp_trt.tools.verify import Check, Report

_PROMPT = "Describe what is in the picture and say how sure you are of it."


@click.command(
    "verify",
    epilog=examples(
        "clasp-trt verify bundle",
        "clasp-trt verify bundle --against ./checkpoint",
    ),
)
@click.argument("bundle", type=click.Path())
@click.option("--against", metavar="CHECKPOINT", help="Folder or hub id: compare every stage with it, in torch.")
@image_options("noise of the bundle's size")
@click.option("--prompt", help="The question or instruction [default: one sentence about the picture].")
@revision_option
@provider_option
@json_option
def command(
    bundle: str,
    against: str | None,
    image: tuple[str, ...],
    max_pixels: int | None,
    prompt: str | None,
    revision: str | None,
    provider: str | None,
    as_json: bool,
) -> None:
    """Check that BUNDLE is whole: hashes, graphs, ports; with --against, that it computes what CHECKPOINT does."""
    if against is None and (image or any(option is not None for option in (prompt, revision))):
        raise click.UsageError("--image, --prompt and --revision are for a comparison; give --against too")
    _check_installed(against is not None)
    from clasp_trt.bundle import Bundle
    from clasp_trt.errors import PromptError
    from clasp_trt.runtime.fitting import check_images
    from clasp_trt.tools.verify.integrity import check

    if prompt is not None and not prompt.strip():
        raise PromptError("the prompt is empty; ask something")
    opened = Bundle.open(bundle)
    check_images(len(image), opened)
    seen = pictures(image, max_pixels)
    with progress_bar() as progress:
        integrity = check(opened, provider=provider, progress=progress)
    report = None
    if against is not None:
        from clasp_trt.tools.profile.workload import noise
        from clasp_trt.tools.verify.parity import compare

        with progress_bar() as progress:
            report = compare(
                opened, against, seen or [noise(opened)], prompt or _PROMPT, revision=revision, provider=provider,
                progress=progress,
            )  # fmt: skip
    if as_json:
        print_json(
            {
                "bundle": str(opened.root),
                "integrity": integrity.to_json(),
                "parity": None if report is None else report.to_json(),
            }
        )
    else:
        click.echo(f"whole      {integrity.files} files, {integrity.graphs} graphs: {opened.root}")
        if integrity.zeros is not None:
            click.echo(f"zeros      {integrity.zeros}; {opened.manifest.sparse}")
        for line in integrity.skipped:
            click.echo(f"skipped    {line}")
        if report is not None:
            _tell(report)
    if report is not None:
        report.require()


def _check_installed(compares: bool) -> None:
    from clasp_trt.extras import require

    if compares:
        needed = ("torch", "transformers", "safetensors", "onnx_ir", "polygraphy")
        require("verify --against", needed, "export", "profile")


def _tell(report: Report) -> None:
    from clasp_trt.tools.verify import FACTOR

    click.echo(f"against    {report.checkpoint}, {report.precision}: at most {FACTOR:g} times what the precision costs")
    click.echo(f"prompt     {report.prompt_tokens} tokens; [{report.category}]")
    if report.rounding:
        changes = ", ".join(f"{part} {change:.2%}" for part, change in report.rounding.items())
        click.echo(f"rounded    as the bundle is, which changed the weights by {changes}")
    head = ("stage", "output", "    error", " relative", "precision", "  allowed", "")
    print_table([head, *(_row(check) for check in report.checks)])
    for line in report.skipped:
        click.echo(f"skipped    {line}")
    if report.first_drift is None:
        click.echo(f"agrees     {len(report.checks)} outputs")


def _row(check: Check) -> tuple[str, ...]:
    numbers = (check.error, check.relative, check.baseline, check.tolerance)
    told = ("exact".rjust(9) if number == 0 else f"{number:9.1e}" for number in numbers)
    return check.stage, check.output, *told, "ok" if check.passed else "DRIFTS"
