"""Object identification: which thing is it."""

from __future__ import annotations

import random
from collections import Counter

from examples.shapesvqa.questions.question import Asked, Template
from examples.shapesvqa.scene import KINDS, TOOLS, Scene


def _by_colour(scene: Scene, rng: random.Random) -> Asked | None:
    times = Counter(shape.colour for shape in scene.shapes)
    alone = [shape for shape in scene.shapes if times[shape.colour] == 1]
    if not alone:
        return None
    shape = rng.choice(alone)
    return Asked({"colour": shape.colour}, shape.kind, KINDS)


def _moving(scene: Scene, rng: random.Random) -> Asked | None:
    return next((Asked({}, shape.kind, KINDS) for shape in scene.shapes if shape.motion), None)


def _tool(scene: Scene, rng: random.Random) -> Asked | None:
    return Asked({}, scene.tool.kind, TOOLS) if scene.tool else None


TEMPLATES = (
    Template(
        "shape by colour",
        _by_colour,
        train=(
            "What is the {colour} shape?",
            "Which shape is {colour}?",
            "Name the {colour} shape.",
            "What kind of shape is the {colour} one?",
            "Tell me what the {colour} thing is.",
            "The {colour} shape is what?",
        ),
        calibration=("What kind of shape is {colour}?", "Tell me which shape is {colour}."),
        test=("What shape is the {colour} one?", "Name the shape that is {colour}."),
    ),
    Template(
        "moving shape",
        _moving,
        train=(
            "Which shape is moving?",
            "What is the moving shape?",
            "Name the shape that is moving.",
            "Tell me what the moving shape is.",
            "What kind of shape is moving?",
        ),
        calibration=("Which one is the moving shape?",),
        test=("Name the moving shape.", "What shape is moving?"),
    ),
    Template(
        "tool",
        _tool,
        train=(
            "What tool is this?",
            "Which tool is shown?",
            "Name the tool.",
            "What is the tool in the picture?",
            "Tell me which tool you see.",
            "What kind of tool is here?",
        ),
        calibration=("What tool is shown?", "Which tool is here?"),
        test=("Which tool is in the picture?", "What kind of tool is this?", "Name the tool you see."),
    ),
)
