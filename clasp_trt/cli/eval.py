"""``clasp-trt eval``: how often a bundle answers right, per category and pruning method."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from clasp_trt.cli.describe import calibration
from clasp_trt.cli.eval_export import FORMATS, export_questions
from clasp_trt.cli.examples import examples
from clasp_trt.cli.numbers import percent, share_percent
from clasp_trt.cli.options import provider_option, threads_option
from clasp_trt.cli.output import json_option, print_json, print_table, progress_bar
from clasp_trt.cli.signals import stop_if_asked

if TYPE_CHECKING:
    from clasp_trt.bundle import Bundle
    from clasp_trt.policy import Policy
    from clasp_trt.tools.evaluate import MethodReport, Questions, Report
    from clasp_trt.tools.evaluate.stress import Stress

ALL = "all"


@click.command(
    "eval",
    epilog=examples(
        "clasp-trt eval bundle --data D.jsonl",
        "clasp-trt eval bundle --data D.jsonl --method none --method clasp",
        "clasp-trt eval --export tsv --data D.jsonl -o D.tsv",
    ),
)
@click.argument("bundle", type=click.Path(), required=False)
@click.option(
    "--data", required=True, type=click.Path(), help="Questions: JSON lines of image, prompt, answer, category."
)
@click.option(
    "--method",
    "names",
    multiple=True,
    help="Pruning method; may repeat; `all` for all that it can follow [default: its own].",
)
@click.option("--policy", type=click.Path(), help="Policy file [default: the bundle's own].")
@click.option("--route", is_flag=True, help="Answer under the router's category, also where a row has one.")
@click.option("--router", type=click.Path(), help="Router folder [default: the bundle's own, or the rules].")
@click.option("--stress", is_flag=True, help="Instead of methods: what wrong categories cost, forced and at random.")
@click.option("--limit", type=click.IntRange(min=1), help="Ask the first N questions alone.")
@click.option(
    "--max-new-tokens",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Where an answer stops at the latest.",
)
@threads_option
@provider_option
@click.option(
    "-o", "--output", type=click.Path(), help="Keep the answers in this file; a run that was stopped goes on there."
)
@click.option(
    "--export",
    "form",
    type=click.Choice(FORMATS),
    help="Instead of asking: write the questions to -o for VLMEvalKit (tsv) or lmms-eval (jsonl).",
)
@json_option
def command(
    bundle: str | None,
    data: str,
    names: tuple[str, ...],
    policy: str | None,
    route: bool,
    router: str | None,
    stress: bool,
    limit: int | None,
    max_new_tokens: int,
    threads: int | None,
    provider: str | None,
    output: str | None,
    form: str | None,
    as_json: bool,
) -> None:
    """Ask BUNDLE every question of a file and count the right answers, with other pruning methods beside CLASP.

    An answer is right if it is the expected one after case, punctuation and articles are taken away. With --stress,
    every question is asked under its true category, the router's, Default and one at random. With --export nothing is
    asked, and no BUNDLE needed.
    """
    if form is not None:
        asking = {
            "--method": names, "--policy": policy, "--route": route, "--router": router, "--stress": stress,
            "--threads": threads, "--provider": provider,
        }  # fmt: skip
        export_questions(
            form, data, output, bundle, asking, limit=limit, max_new_tokens=max_new_tokens, as_json=as_json
        )
        return
    if bundle is None:
        raise click.UsageError("Missing argument 'BUNDLE'.")
    from clasp_trt.bundle import Bundle
    from clasp_trt.cli.eval_stress import tell_stress
    from clasp_trt.policy import Policy
    from clasp_trt.runtime.pipeline import load
    from clasp_trt.storage.apart import keep_apart
    from clasp_trt.tools.evaluate import Questions, Report, check_categories, evaluate, results
    from clasp_trt.tools.evaluate.stress import CONDITIONS
    from clasp_trt.tools.evaluate.stress import stress as run_stress

    # all that can be refused at once comes before the weights are read
    if output is not None:
        keep_apart(output, bundle, data, policy, router)
    opened = Bundle.open(bundle)
    if stress and (names or route):
        raise click.UsageError("--stress asks with clasp under categories of its own; drop --method and --route")
    methods = CONDITIONS if stress else _methods(names, opened)
    chosen = opened.policy if policy is None else Policy.load(policy)
    questions = Questions.read(data, limit=limit)
    check_categories(questions, chosen)
    wanted = results.header(
        opened, chosen, questions, methods,
        max_new_tokens=max_new_tokens, route=route, router=router, provider=provider,
    )  # fmt: skip
    with (
        nullcontext() if output is None else results.opened(output, wanted, questions) as store,
        load(
            bundle,
            policy=policy,
            router=router,
            threads=threads,
            provider=provider,
            image_cache_bytes=0,
            reuse_prompts=False,
        ) as pipeline,
        progress_bar() as progress,
    ):
        stop_if_asked()
        report: Report | Stress
        if stress:
            report = run_stress(pipeline, questions, max_new_tokens=max_new_tokens, store=store, progress=progress)
        else:
            report = evaluate(
                pipeline, questions, methods,
                max_new_tokens=max_new_tokens, route=route, store=store, progress=progress,
            )  # fmt: skip
    if as_json:
        print_json({**_header_json(opened, chosen, questions, max_new_tokens, route), **report.to_json()})
        return
    asked = "several" if stress else "the router's" if route else "the row's, or else the router's"
    for line in _header(opened, chosen, questions, report, max_new_tokens, asked):
        click.echo(line)
    click.echo()
    if isinstance(report, Report):
        print_table(_table(report))
        click.echo(f"\n{_legend(report)}")
    else:
        tell_stress(report)


def _methods(names: tuple[str, ...], bundle: Bundle) -> tuple[str, ...]:
    """The methods asked for, each once, in the order in which they were named. ``all`` leaves out those that the
    bundle cannot follow."""
    from clasp_trt.methods import METHODS, get
    from clasp_trt.runtime.fitting import follows

    every = [name for name, method in METHODS.items() if follows(method, bundle)]
    asked = names or (bundle.manifest.method,)
    wanted = [each for name in asked for each in (every if name == ALL else [get(name).name])]
    return tuple(dict.fromkeys(wanted))


def _header(
    bundle: Bundle, policy: Policy, questions: Questions, report: Report | Stress, max_new_tokens: int, asked: str
) -> list[str]:
    manifest = bundle.manifest
    lines = [
        f"bundle    {manifest.model.name}, {manifest.precision}: {manifest.schedule.describe()}",
        f"policy    {calibration(policy)}; category: {asked}",
        f"data      {questions.name}: {report.questions} questions about {report.pictures} pictures",
        f"answers   greedy, at most {max_new_tokens} tokens",
    ]
    if report.routing is not None:
        lines.append(
            f"router    {100 * report.routing.value:.1f} % of {report.routing.total} rows get their own category"
        )
    return lines


def _header_json(
    bundle: Bundle, policy: Policy, questions: Questions, max_new_tokens: int, route: bool
) -> dict[str, object]:
    return {
        "bundle": str(bundle.root),
        "schedule": bundle.manifest.schedule.to_json(),
        "policy": {"calibrated": policy.calibrated, "provenance": dict(policy.provenance)},
        "data": {"path": questions.name, "sha256": questions.sha256},
        "max_new_tokens": max_new_tokens,
        "route": route,
    }


def _table(report: Report) -> list[tuple[str, ...]]:
    methods = report.methods
    categories = methods[0].categories
    rows = [("", *(method.name for method in methods))]
    rows += [
        (f"{name} ({share.total})", *(share_percent(method.categories[name]) for method in methods))
        for name, share in categories.items()
    ]
    rows.append((f"all ({report.questions})", *(share_percent(method.overall) for method in methods)))
    if methods[0].against_none is not None:
        rows.append(("of unpruned", *map(_retention, methods)))
    rows.append(("visual tokens", *(f"{method.mean_visual_tokens:5.1f}" for method in methods)))
    rows.append(("TTFT, ms", *(f"{method.ttft_ms:5.1f}" for method in methods)))
    return rows


def _retention(method: MethodReport) -> str:
    compared = method.against_none
    return percent(None) if compared is None else percent(compared.ratio, compared.ratio_interval)


def _legend(report: Report) -> str:
    paired = report.methods[0].against_none is not None
    return (
        "Right answers in %, with Wilson's 95 % interval (questions taken as independent)\n"
        + ("of unpruned: in % of none, paired by question, 95 % bootstrap over pictures\n" if paired else "")
        + "visual tokens: mean over decoder layers and questions; TTFT: median, from the decoded picture on"
    )
