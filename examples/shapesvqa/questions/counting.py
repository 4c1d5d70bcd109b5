"""Counting: shapes of a kind, shapes of a colour, all shapes; scattered, so that many visual tokens matter."""

from __future__ import annotations

import random

from examples.shapesvqa.questions.question import PLURALS, Asked, Template
from examples.shapesvqa.scene import COUNTS, Scene


def _count(scene: Scene, rng: random.Random) -> Asked:
    mode, subject = scene.count.mode, scene.count.subject
    least, most = COUNTS[mode]
    what = {"kind": PLURALS.get(subject, ""), "colour": f"{subject} shapes", "all": "shapes"}[mode]
    return Asked({"what": what}, str(scene.count.number), tuple(map(str, range(least, most + 1))))


TEMPLATES = (
    Template(
        "count",
        _count,
        train=(
            "How many {what} are there?",
            "How many {what} do you see?",
            "How many {what} are in the picture?",
            "Count the {what}.",
            "What is the number of {what}?",
            "Tell me how many {what} there are.",
            "Count the {what} in the picture.",
            "How many {what} does the picture have?",
        ),
        calibration=("How many {what} can you see?", "What number of {what} do you see?"),
        test=(
            "How many {what} are in this scene?",
            "Count the {what} you see.",
            "What is the number of {what} in the picture?",
        ),
    ),
)
