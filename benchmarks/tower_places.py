"""What a place inside the vision tower costs and buys: ``python -m benchmarks.tower_places``.

Builds clasp-tiny, which comes with the package, once whole and once for each block and share of ``--prune-tower``, asks
all of these the same questions of ShapesVQA, and prints a table: right answers, their difference from the whole tower
with its 95 % interval (a bootstrap that draws pictures), and the processor's time for the tower and its arithmetic, as
shares of the whole one's. A bundle fixes its place, which is why this is no search of ``clasp-trt calibrate``: that is
run on the bundle whose place was chosen here. Needs the extra ``build``.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from clasp_trt.export.family import describe_folder
from clasp_trt.options import Options
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.thinning import AskedThinning
from clasp_trt.tools.build.compiler import compile_bundle
from clasp_trt.tools.demo.shipped import CHECKPOINT, policy
from clasp_trt.tools.evaluate import paired, scoring
from examples.shapesvqa import draw_questions, render

WHOLE = "whole"


@dataclass
class Place:
    """A bundle that is asked: whether each answer was ``right``, and ``seconds`` of the tower for each picture."""

    name: str
    pipeline: Pipeline
    flops: int
    right: list[bool]
    seconds: list[float]


def built(name: str, folder: Path, budget: str | None) -> Place:
    """The bundle of a place such as ``2:50%``, or the whole tower."""
    tower = None if name == WHOLE else name
    options = Options.of(
        prune_tower=tower, policy=policy(CHECKPOINT), budget=budget, prune_at="none" if budget is None else None
    )
    bundle = compile_bundle(CHECKPOINT, folder, options, target="cpu").bundle
    thinned = describe_folder(CHECKPOINT, name).thinned(None if tower is None else AskedThinning.parse(tower))
    pipeline = load(bundle.root, threads=1, image_cache_bytes=0)
    return Place(name, pipeline, thinned.tower.flops(thinned.tower.rows), [], [])


def ask(places: Sequence[Place], pictures: int) -> list[int]:
    """Asks all of ``places`` about the same ``pictures``, in turn; returns which picture each question is about."""
    about = []
    for seed in range(pictures):
        scene, questions = draw_questions(seed, "test")
        image = render(scene)
        about += [seed] * len(questions)
        for place in places:
            start = time.process_time()
            encoded = place.pipeline.encode(image)
            place.seconds.append(time.process_time() - start)
            for question in questions:
                said = place.pipeline.generate(encoded, question.prompt, max_new_tokens=8, category=question.category)
                place.right.append(scoring.matches(said.text, question.answer))
    return about


@click.command()
@click.option("--blocks", default="1,2,3,4", show_default=True, help="After which blocks; clasp-tiny reads up to 8.")
@click.option("--shares", default="75%,50%,33%,25%", show_default=True, help="What stays.")
@click.option("--budget", help="Of the stages in the decoder behind it [default: none there].")
@click.option("--pictures", type=click.IntRange(min=2), default=200, show_default=True)
def main(blocks: str, shares: str, budget: str | None, pictures: int) -> None:
    """Print the table of places."""
    names = [WHOLE, *(f"{block}:{share}" for share in shares.split(",") for block in blocks.split(","))]
    with tempfile.TemporaryDirectory() as folder:
        places = [built(name, Path(folder) / str(number), budget) for number, name in enumerate(names)]
        about = np.array(ask(places, pictures))
        for place in places:
            place.pipeline.close()
    whole = places[0]
    click.echo(f"{len(about)} questions about {pictures} pictures; stages behind: {budget or 'none'}")
    click.echo(f"{'place':<10}{'right':>8}{'difference':>14}{'95 % interval':>20}{'tower time':>12}{'tower FLOPs':>13}")
    for place in places:
        found = paired(np.array(place.right), np.array(whole.right), about)
        ends = found.difference_interval
        interval = "" if place is whole or ends is None else f"{100 * ends.low:+.1f} to {100 * ends.high:+.1f}"
        spent = statistics.median(np.array(place.seconds) / np.array(whole.seconds))
        click.echo(
            f"{place.name:<10}{100 * np.mean(place.right):7.1f}%{100 * found.difference:+13.1f}{interval:>21}"
            f"{spent:12.2f}{place.flops / whole.flops:13.2f}"
        )


if __name__ == "__main__":
    main()
