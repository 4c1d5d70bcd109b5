"""``clasp-trt profile``: where the time and the memory of an answer go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clasp_trt.cli.examples import examples
from clasp_trt.cli.options import image_options, lookup_option, pictures, provider_option, threads_option
from clasp_trt.cli.output import json_option, megabytes, print_json, print_table, progress_bar
from clasp_trt.cli.signals import stop_if_asked

if TYPE_CHECKING:
    from PIL.Image import Image

    from clasp_trt.bundle import Bundle
    from clasp_trt.tools.profile import Measurement, Ratio, Report, Workload
    from clasp_trt.tools.profile.layers import Layers

_NAMES = {
    "ttft": "time to first token",
    "decode": "decode step",
    "tpot": "time per output token",
    "answer": "whole answer",
}
_TOP = 10


@click.command(
    "profile",
    epilog=examples(
        "clasp-trt profile bundle",
        "clasp-trt profile bundle --against baseline --plot stages.png",
    ),
)
@click.argument("bundle", type=click.Path())
@click.option("--against", multiple=True, type=click.Path(), help="Bundle to compare with, in turn; may repeat.")
@click.option("--runs", type=click.IntRange(min=1), default=20, show_default=True, help="Answers that count.")
@click.option("--warmup", type=click.IntRange(min=0), default=3, show_default=True, help="Answers before them.")
@image_options("noise of the bundle's size")
@click.option("--images", type=click.IntRange(min=1), metavar="N", help="So many pictures of noise [default: 1].")
@click.option("--visual-tokens", type=click.IntRange(min=1), metavar="N", help="Noise of so many visual tokens each.")
@click.option("--no-image", is_flag=True, help="Ask about text alone.")
@click.option("--prompt", help="The question or instruction [default: words of --prompt-tokens].")
@click.option("--prompt-tokens", type=click.IntRange(min=1), help="Length of a generated prompt [default: 32].")
@click.option("--category", help="Take this category instead of the router's.")
@click.option("--policy", type=click.Path(), help="Policy file [default: each bundle's own].")
@click.option("--router", type=click.Path(), help="Router folder [default: each bundle's own, or the rules].")
@click.option("--method", help="Choose tokens by another pruning method [default: the one the bundle was built for].")
@click.option("--max-new-tokens", type=click.IntRange(min=2), default=16, show_default=True, help="Of every answer.")
@lookup_option
@threads_option
@provider_option
@click.option("--per-layer", is_flag=True, help="Also time every node, in runs of their own.")
@click.option("--plot", type=click.Path(), help="Draw stages and bundles to this file.")
@click.option("--trace", type=click.Path(), help="Write a time line for Chrome's trace viewer to this file.")
@click.option("--samples", is_flag=True, help="With --json: every single time, not only percentiles.")
@json_option
def command(
    bundle: str,
    against: tuple[str, ...],
    runs: int,
    warmup: int,
    image: tuple[str, ...],
    max_pixels: int | None,
    images: int | None,
    visual_tokens: int | None,
    no_image: bool,
    prompt: str | None,
    prompt_tokens: int | None,
    category: str | None,
    policy: str | None,
    router: str | None,
    method: str | None,
    max_new_tokens: int,
    lookup: int,
    threads: int | None,
    provider: str | None,
    per_layer: bool,
    plot: str | None,
    trace: str | None,
    samples: bool,
    as_json: bool,
) -> None:
    """Measure where the time of an answer of BUNDLE goes, and how much memory it takes.

    Every answer has the same pictures or none, the same prompt and number of tokens. Bundles take turns, each in a
    process of its own.
    """
    if samples and not as_json:
        raise click.UsageError("--samples adds to --json; give both")
    if prompt is not None and prompt_tokens is not None:
        raise click.UsageError("--prompt-tokens is the length of a generated prompt; leave out one of the two")
    made = [name for name, value in (("--images", images), ("--visual-tokens", visual_tokens)) if value is not None]
    shown = ["--image", *made] if image else made
    if no_image and shown:
        raise click.UsageError(f"--no-image asks about text alone; leave out one of {shown[0]} and --no-image")
    if image and made:
        raise click.UsageError(f"{made[0]} makes noise in place of pictures; leave out one of --image and {made[0]}")
    _check_installed(plot is not None)
    from clasp_trt import methods
    from clasp_trt.bundle import Bundle
    from clasp_trt.policy import Policy
    from clasp_trt.runtime.routing.folder import RouterSpec
    from clasp_trt.storage import files
    from clasp_trt.storage.apart import keep_apart
    from clasp_trt.tools.profile import Options, Workload, profile
    from clasp_trt.tools.profile import plot as plotting
    from clasp_trt.tools.profile import trace as tracing

    # all that can be refused at once comes before the weights are read
    if plot is not None:
        files.check(plot, plotting.FORMATS)
        keep_apart(plot, *image, bundle, *against, policy, router)
    if trace is not None:
        files.check(trace, tracing.FORMATS)
        keep_apart(trace, *image, bundle, *against, policy, router)
    chosen = None if method is None else methods.get(method).name
    if router is not None:
        RouterSpec.read(router)
    followed = None if policy is None else Policy.load(policy)
    bundles = [Bundle.open(path) for path in (bundle, *against)]
    workload = Workload(
        () if no_image else _pictures(bundles[0], image, max_pixels, images or 1, visual_tokens),
        _prompt(bundles[0], prompt, prompt_tokens or 32),
        category,
        max_new_tokens,
        followed,
        chosen,
        router,
        lookup,
    )
    stop_if_asked()
    with progress_bar() as progress:
        report = profile(bundles, workload, Options(runs, warmup, threads, per_layer, provider), progress=progress)
    if plot is not None:
        files.write(plot, lambda path: plotting.save(path, report))
    if trace is not None:
        files.write_text(trace, tracing.dumps(report))
    if as_json:
        print_json(report.to_json(samples=samples))
    else:
        _tell(report, noise=not image)


def _check_installed(plot: bool) -> None:
    from clasp_trt.extras import require

    require("profile", ["polygraphy"], "profile")
    if plot:
        require("--plot", ["matplotlib"], "profile")


def _pictures(
    bundle: Bundle, given: tuple[str, ...], max_pixels: int | None, number: int, tokens: int | None
) -> tuple[Image, ...]:
    from clasp_trt.runtime.fitting import check_images
    from clasp_trt.tools.profile import workload

    check_images(len(given) or number, bundle)
    if given:
        return tuple(pictures(given, max_pixels))
    return tuple(workload.noise(bundle, each, tokens) for each in range(number))


def _prompt(bundle: Bundle, prompt: str | None, tokens: int) -> str:
    from clasp_trt.errors import PromptError
    from clasp_trt.tools.profile import workload

    if prompt is not None and not prompt.strip():
        raise PromptError("the prompt is empty; ask something")
    return workload.words(bundle, tokens) if prompt is None else prompt


def _tell(report: Report, *, noise: bool) -> None:
    asked = report.workload
    shown = "no picture"
    if asked.images:
        what = "noise" if noise else "a picture" if len(asked.images) == 1 else "pictures"
        shown = f"{what} of {', '.join(f'{each.width} x {each.height}' for each in asked.images)}"
    method = "" if asked.method is None else f", method {asked.method}"
    click.echo(
        f"asked      {report.runs} times after {report.warmup} to warm up; "
        f"{shown}, {asked.new_tokens} tokens an answer{method}"
    )
    for measured in report.measurements:
        click.echo()
        _tell_one(measured, asked)
    for other, ratios in zip(report.measurements[1:], report.comparisons, strict=True):
        click.echo()
        _tell_comparison(report, other, ratios)


def _tell_one(measured: Measurement, asked: Workload) -> None:
    from clasp_trt.tools.profile.workload import picture_tokens

    manifest, sample, memory = measured.bundle.manifest, measured.samples[0], measured.memory
    click.echo(f"bundle     {measured.bundle.root}: {manifest.model.name}, {manifest.precision}")
    click.echo(f"pruning    {manifest.schedule.describe()}")
    if manifest.model.varies and asked.images and manifest.schedule.prunes:
        entering = () if manifest.schedule.tower is None else (manifest.schedule.entering(sample.visual_tokens),)
        kept = (sample.visual_tokens, *entering, *manifest.schedule.keeps_of(sample.visual_tokens))
        click.echo(f"           here {' -> '.join(map(str, kept))}")
    each = f" ({' + '.join(map(str, picture_tokens(measured.bundle, asked)))})" if len(asked.images) > 1 else ""
    click.echo(
        f"prompt     {sample.prompt_tokens} tokens, {sample.visual_tokens}{each} of them visual; [{sample.category}]"
    )
    click.echo(
        f"memory     {megabytes(memory['steady'])} steady, {megabytes(memory['peak'])} peak "
        f"({megabytes(memory['libraries'])} before the bundle, {megabytes(memory['loaded'])} with it loaded)"
    )
    print_table([("ms", "   median", "      p90", "      p99", " share"), *_stage_rows(measured)])
    click.echo(f"{measured.tokens_per_second:.1f} tokens/s after the first")
    if sample.speculation is not None:
        click.echo(f"lookup     {sample.speculation}")
    if measured.layers is not None:
        click.echo()
        _tell_layers(measured.layers)


def _stage_rows(measured: Measurement) -> list[tuple[str, ...]]:
    found = []
    whole = "ttft"
    for name, summary in measured.summaries.items():
        if name == "decode":
            whole = "decode"
        share = "" if name in ("tpot", "answer") else f"{summary.median / measured.summaries[whole].median:6.1%}"
        found.append((_label(name), *(f"{value:9.2f}" for value in summary), share))
    return found


def _tell_comparison(report: Report, other: Measurement, ratios: dict[str, Ratio]) -> None:
    from clasp_trt.tools.profile.statistics import LEAST_ROUNDS, LEVEL

    first = report.measurements[0]
    click.echo(f"{first.bundle.root} against {other.bundle.root}")
    head = ("median, ms", "    first", "   second", "ratio", f"{LEVEL:.0%} interval", "")
    rows = [
        (
            _label(name),
            f"{first.summaries[name].median:9.2f}",
            f"{other.summaries[name].median:9.2f}",
            f"{ratio.value:5.2f}",
            "-" if ratio.interval is None else "{:.2f} to {:.2f}".format(*ratio.interval),
            _verdict(ratio),
        )
        for name, ratio in ratios.items()
        if "/" not in name
    ]
    print_table([head, *rows])
    if report.runs < LEAST_ROUNDS:
        click.echo(f"fewer than {LEAST_ROUNDS} runs cannot tell a difference from noise")


def _verdict(ratio: Ratio) -> str:
    if ratio.beyond_noise is None:
        return ""
    return ("faster" if ratio.value < 1 else "slower") if ratio.beyond_noise else "within noise"


def _tell_layers(layers: Layers) -> None:
    from clasp_trt.tools.profile.layers import DECODE, PREFILL

    for phase, title in ((PREFILL, "until the first token"), (DECODE, "a decode step")):
        ops = layers.ops(phase)
        total = sum(ops.values())
        click.echo(f"operators, {title}: {', '.join(f'{op} {ms / total:.1%}' for op, ms in list(ops.items())[:_TOP])}")
        nodes = [node for node in layers.nodes if node.phase == phase][:_TOP]
        shapes = [" x ".join(map(str, node.shape)) or "scalar" for node in nodes]
        print_table(
            [
                ("slowest nodes", "node", "output", "       ms", " share"),
                *(
                    (node.graph, node.name, shape, f"{node.milliseconds:9.3f}", f"{node.milliseconds / total:6.1%}")
                    for node, shape in zip(nodes, shapes, strict=True)
                ),
            ]
        )
        click.echo()
    click.echo("timed node by node, which takes longer: compare these times with one another, not with those above")


def _label(name: str) -> str:
    """A row's name for people: parts stand under their group."""
    group, slash, part = name.partition("/")
    return f"  {part}" if slash else _NAMES.get(group, group)
