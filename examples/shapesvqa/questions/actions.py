"""Actions and interactions: where something flies, where an arrow points and at what, what a figure is doing."""

from __future__ import annotations

import random

from examples.shapesvqa.questions.question import Asked, Template
from examples.shapesvqa.scene import ACTIONS, DIRECTIONS, KINDS, Scene


def _motion(scene: Scene, rng: random.Random) -> Asked | None:
    found = ((shape.kind, shape.motion) for shape in scene.shapes if shape.motion)
    return next((Asked({"kind": kind}, motion, DIRECTIONS) for kind, motion in found), None)


def _arrow(scene: Scene, rng: random.Random) -> Asked | None:
    return Asked({}, scene.arrow.direction, DIRECTIONS) if scene.arrow else None


def _target(scene: Scene, rng: random.Random) -> Asked | None:
    return Asked({}, scene.shapes[scene.arrow.target].kind, KINDS) if scene.arrow else None


def _person(scene: Scene, rng: random.Random) -> Asked | None:
    return Asked({}, scene.person.action, ACTIONS) if scene.person else None


TEMPLATES = (
    Template(
        "motion",
        _motion,
        train=(
            "Which way is the {kind} moving?",
            "Which way does the {kind} fly?",
            "In which direction is the {kind} moving?",
            "What direction does the {kind} fly in?",
            "The {kind} is moving which way?",
            "Tell me which way the {kind} is moving.",
        ),
        calibration=("In which direction does the {kind} fly?",),
        test=("What direction is the {kind} moving in?", "Tell me which way the {kind} does fly."),
    ),
    Template(
        "arrow",
        _arrow,
        train=(
            "Which way does the arrow point?",
            "Which way is the arrow pointing?",
            "In which direction does the arrow point?",
            "What direction is the arrow pointing in?",
            "Tell me which way the arrow is pointing.",
        ),
        calibration=("In which direction is the arrow pointing?",),
        test=("What direction does the arrow point in?", "The arrow is pointing which way?"),
    ),
    Template(
        "pointing at",
        _target,
        train=(
            "What does the arrow point at?",
            "What is the arrow pointing at?",
            "Which shape does the arrow point at?",
            "Name the shape that the arrow is pointing at.",
            "Tell me what the arrow is pointing at.",
        ),
        calibration=("What shape does the arrow point at?",),
        test=("Which shape is the arrow pointing at?", "Tell me what the arrow does point at."),
    ),
    Template(
        "person",
        _person,
        train=(
            "What is the person doing?",
            "What does the person do?",
            "Tell me what the person is doing.",
            "What do you see the person doing?",
            "Name what the person is doing.",
            "The person is doing what?",
        ),
        calibration=("What can you see the person doing?",),
        test=("What is the person doing in the picture?", "Tell me what you see the person doing."),
    ),
)
