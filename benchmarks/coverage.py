"""Why a method loses on ShapesVQA: how often a token of the thing that a question names outlives each stage.

``python -m benchmarks.coverage BUNDLE`` asks a bundle of clasp-tiny test questions that name a thing (a shape by its
kind, the tool, the sign, the arrow, the person) under several methods, and counts; with the accuracy where a token of
every named thing survived the first stage, and where one lost all of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from clasp_trt import methods
from clasp_trt.runtime.pipeline import load
from clasp_trt.tools.evaluate import scoring
from examples.clasp_tiny.batches import names
from examples.clasp_tiny.labels import label
from examples.shapesvqa import Question, Scene, draw_questions, render, tokenize

METHODS = ("random", "uniform", "fastv", "divprune", "clasp")


def asked(scene: Scene, questions: list[Question]) -> Iterator[tuple[Question, list[NDArray[np.bool_]]]]:
    """Questions that name things, with the patches, bool ``[tokens]``, of each of these."""
    found = label(scene).thing
    named = names(scene)
    for question in questions:
        things = {id(named[word]): named[word] for word in tokenize(question.prompt) if word in named}
        if things:
            places = [int(thing.at.y // 12) * 12 + int(thing.at.x // 12) for thing in things.values()]
            yield question, [found == found[place] for place in places]


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--pictures", type=click.IntRange(min=1), default=100, show_default=True)
def main(bundle: Path, pictures: int) -> None:
    """Count the things that questions name and that survive."""
    pipeline = load(bundle, threads=1)
    stages = len(pipeline.bundle.manifest.schedule.stages)
    variants = {name: pipeline.variant(method=methods.get(name)) for name in METHODS}
    survived: dict[str, list[list[bool]]] = {name: [] for name in METHODS}
    right: dict[str, list[bool]] = {name: [] for name in METHODS}
    for seed in range(pictures):
        scene, questions = draw_questions(seed, "test")
        encoded = pipeline.encode(render(scene))
        for question, things in asked(scene, questions):
            for name, variant in variants.items():
                result = variant.generate(encoded, question.prompt, max_new_tokens=8, category=question.category)
                survived[name].append([all(t[stage.indices].any() for t in things) for stage in result.kept])
                right[name].append(scoring.matches(result.text, question.answer))
    click.echo(f"{len(right['clasp'])} questions that name a thing, about {pictures} pictures; all in %")
    head = [*(f"stage {number + 1}" for number in range(stages)), "right", "right if there", "right if gone"]
    click.echo(f"{'':10}" + "".join(f"{word:>16}" for word in head))
    for name in METHODS:
        kept, good = np.array(survived[name]), np.array(right[name])
        there = kept[:, 0]
        shares = [
            *kept.mean(axis=0),
            good.mean(),
            good[there].mean(),
            good[~there].mean() if (~there).any() else np.nan,
        ]
        click.echo(f"{name:10}" + "".join(f"{100 * share:16.1f}" for share in shares))


if __name__ == "__main__":
    main()
