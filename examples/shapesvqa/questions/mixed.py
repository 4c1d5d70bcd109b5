"""Default: questions that mix several categories, or that name none."""

from __future__ import annotations

import random

from examples.shapesvqa.questions.question import YES_NO, Asked, Template
from examples.shapesvqa.scene import COLOURS, KINDS, Scene


def _stands_out(scene: Scene, rng: random.Random) -> Asked | None:
    return next((Asked({}, shape.kind, KINDS) for shape in scene.shapes if shape.hero), None)


def _same_colour(scene: Scene, rng: random.Random) -> Asked:
    first, second = rng.sample(scene.singles[1:], 2)  # these agree in half of all scenes
    return Asked({"first": first.kind, "second": second.kind}, "yes" if first.colour == second.colour else "no", YES_NO)


def _either(scene: Scene, rng: random.Random) -> Asked:
    shape = rng.choice(scene.singles)
    other = rng.choice([colour for colour in COLOURS if colour != shape.colour])
    pair = (shape.colour, other) if rng.random() < 0.5 else (other, shape.colour)
    return Asked({"kind": shape.kind, "first": pair[0], "second": pair[1]}, shape.colour, pair)


def _pointed_colour(scene: Scene, rng: random.Random) -> Asked | None:
    return Asked({}, scene.shapes[scene.arrow.target].colour, COLOURS) if scene.arrow else None


TEMPLATES = (
    Template(
        "stands out",
        _stands_out,
        train=(
            "What stands out?",
            "What do you see first?",
            "What stands out the most?",
            "Tell me what stands out.",
            "Which thing stands out here?",
        ),
        calibration=("What stands out here?",),
        test=("Which thing do you see first?", "Tell me what stands out the most."),
    ),
    Template(
        "same colour",
        _same_colour,
        train=(
            "Is the {first} the same colour as the {second}?",
            "Does the {first} have the same colour as the {second}?",
            "Do the {first} and the {second} have the same colour?",
            "Do the {first} and the {second} match?",
            "Tell me if the {first} and the {second} match.",
        ),
        calibration=("Does the {first} match the {second}?",),
        test=(
            "Do the {first} and the {second} have one colour?",
            "Tell me if the {first} and the {second} have the same colour.",
        ),
    ),
    Template(
        "either colour",
        _either,
        train=(
            "Is the {kind} {first} or {second}?",
            "Is it a {first} or a {second} {kind}?",
            "Is this {kind} {first} or {second}?",
            "Tell me if the {kind} is {first} or {second}.",
            "Which is it, a {first} {kind} or a {second} {kind}?",
        ),
        calibration=("Is there a {first} or a {second} {kind}?",),
        test=("Is it a {first} {kind} or a {second} {kind}?", "Do you see a {first} or a {second} {kind}?"),
    ),
    Template(
        "colour pointed at",
        _pointed_colour,
        train=(
            "What colour does the arrow point at?",
            "The arrow is pointing at what colour?",
            "What is the colour of the thing the arrow points at?",
            "Tell me the colour of what the arrow points at.",
            "Which colour is the arrow pointing at?",
        ),
        calibration=("What colour is the arrow pointing at?",),
        test=("Which colour does the arrow point at?", "Tell me the colour the arrow is pointing at."),
    ),
)
