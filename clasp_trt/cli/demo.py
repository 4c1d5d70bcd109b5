"""``clasp-trt demo``: a small model answers with all its visual tokens and with few, and a picture shows which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clasp_trt.cli.demo_talk import Silent, Spoken
from clasp_trt.cli.examples import examples
from clasp_trt.cli.output import json_option, print_json, progress_bar
from clasp_trt.cli.signals import stop_if_asked

if TYPE_CHECKING:
    from PIL import Image

    from clasp_trt.bundle import Bundle
    from clasp_trt.runtime.pipeline import Pipeline
    from clasp_trt.tools.demo.asking import Asked, Score
    from clasp_trt.tools.demo.bundles import Built
    from clasp_trt.tools.evaluate.dataset import Row

PICTURE = "kept.png"
DRAWN = ("text / symbol recognition", "counting", "spatial relations")
"""Categories whose questions are in the picture: what they need is small, scattered, or in two places."""

_MOST_BUDGETS = 3  # columns of answers that still fit beside each other


@click.command(
    "demo",
    epilog=examples(
        "clasp-trt demo",
        "clasp-trt demo my-demo --checkpoint ./checkpoint --budget 64",
    ),
)
@click.argument("out", type=click.Path(file_okay=False), default="clasp-demo")
@click.option("--checkpoint", type=click.Path(), help="LLaVA checkpoint folder [default: the one in the package].")
@click.option(
    "--budget", "budgets", type=click.IntRange(min=1), multiple=True,
    help="Mean number of visual tokens, up to three times [default: the paper's stages for 1/3 and 1/9 of them].",
)  # fmt: skip
@json_option
def command(out: str, checkpoint: str | None, budgets: tuple[int, ...], as_json: bool) -> None:
    """Ask one model a question of each category, unpruned and at two budgets, and draw what was kept.

    Bundles and picture go to the folder OUT [default: clasp-demo]; a second run uses the bundles again.
    """
    from clasp_trt.runtime.media.image import load_image
    from clasp_trt.runtime.overlay import save_picture
    from clasp_trt.runtime.pipeline import load
    from clasp_trt.tools.demo import asking, bundles, picture, shipped
    from clasp_trt.tools.evaluate import dataset

    if len(budgets) > _MOST_BUDGETS or len(set(budgets)) < len(budgets):
        raise click.UsageError(f"--budget may be given up to {_MOST_BUDGETS} times, each with another number")
    folder, model = Path(out), shipped.checkpoint(checkpoint)
    rows = dataset.read(shipped.QUESTIONS)
    images = [load_image(row.image) for row in rows]
    with progress_bar() as progress:
        built = bundles.bundles(model, folder, budgets, progress)
    schedules = {name: bundle.manifest.schedule for name, bundle in built.bundles.items()}
    talk = Silent() if as_json else Spoken(schedules)
    talk.open(model, folder, built)
    pipelines = {
        name: load(bundle.root, image_cache_bytes=0, reuse_prompts=False) for name, bundle in built.bundles.items()
    }
    asking.warm_up(pipelines.values(), rows[0], images[0])
    asked = [_ask(row, image, pipelines, talk) for row, image in zip(rows, images, strict=True)]
    scores = {name: asking.score(asked, name) for name in pipelines}
    sheet = picture.draw(model.resolve().name, schedules, [each for each in asked if each.row.category in DRAWN])
    save_picture(folder / PICTURE, sheet)
    talk.close(folder / PICTURE, scores)
    if as_json:
        print_json(_as_json(model, folder, built, asked, scores))


def _ask(row: Row, image: Image.Image, pipelines: Mapping[str, Pipeline], talk: Silent) -> Asked:
    """One question to every bundle in turn."""
    from clasp_trt.tools.demo.asking import Asked, answer

    talk.question(row)
    results = {}
    for name, pipeline in pipelines.items():
        stop_if_asked()
        results[name] = talk.answer(row, answer(pipeline, row, image))
    talk.end()
    return Asked(row, next(iter(pipelines.values())).see(image), results)


def _as_json(
    model: Path, folder: Path, built: Built, asked: Sequence[Asked], scores: Mapping[str, Score]
) -> dict[str, object]:
    return {
        "checkpoint": str(model),
        "folder": str(folder),
        "picture": str(folder / PICTURE),
        "built": built.fresh,
        "category": "given",
        "bundles": [_bundle_json(name, bundle, scores[name]) for name, bundle in built.bundles.items()],
        "questions": [_asked_json(each) for each in asked],
    }


def _bundle_json(name: str, bundle: Bundle, score: Score) -> dict[str, object]:
    schedule = bundle.manifest.schedule
    return {
        "name": name,
        "path": str(bundle.root),
        "visual_tokens": schedule.tokens,
        "keeps": list(schedule.keeps),
        "mean_visual_tokens": schedule.mean_tokens,
        "right": score.right,
        "questions": score.questions,
        "median_ttft_ms": score.ttft_ms,
    }


def _asked_json(asked: Asked) -> dict[str, object]:
    row = asked.row
    answers = {
        name: {"text": result.text, "right": asked.right(name), "ttft_ms": result.timings_ms["ttft"]}
        for name, result in asked.results.items()
    }
    return {
        "image": str(row.image),
        "prompt": row.prompt,
        "answer": row.answer,
        "category": row.category,
        "answers": answers,
    }
