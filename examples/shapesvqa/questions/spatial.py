"""Spatial relations: which side, which quarter, which neighbour."""

from __future__ import annotations

import random

from examples.shapesvqa.questions.question import Asked, Template
from examples.shapesvqa.scene import KINDS, REFERENCE, STEP, Scene, Shape

APART = 24
"""Least distance along an axis at which its order is asked for, reference px: two visual tokens."""

CLEAR = 10
"""Least distance from the middle of the picture at which a quarter is asked for, reference px."""

_SIDES = {"left of": "left", "right of": "right", "above": "up", "below": "down"}


def _order(scene: Scene, rng: random.Random, axis: str, names: tuple[str, str]) -> Asked | None:
    first, second = rng.sample(scene.singles, 2)
    gap: float = getattr(first.at, axis) - getattr(second.at, axis)
    if abs(gap) < APART:
        return None
    return Asked({"first": first.kind, "second": second.kind}, names[gap > 0], names)


def _left_right(scene: Scene, rng: random.Random) -> Asked | None:
    return _order(scene, rng, "x", ("left", "right"))


def _above_below(scene: Scene, rng: random.Random) -> Asked | None:
    return _order(scene, rng, "y", ("above", "below"))


def _quarter(scene: Scene, rng: random.Random) -> Asked | None:
    half = REFERENCE / 2
    clear = [s for s in scene.singles if min(abs(s.at.x - half), abs(s.at.y - half)) >= CLEAR]
    if not clear:
        return None
    shape = rng.choice(clear)
    row, column = "top" if shape.at.y < half else "bottom", "left" if shape.at.x < half else "right"
    quarters = ("top left", "top right", "bottom left", "bottom right")
    return Asked({"kind": shape.kind}, f"{row} {column}", quarters)


def _neighbour(scene: Scene, rng: random.Random) -> Asked | None:
    standing: dict[tuple[int, int], Shape] = {shape.at.cell: shape for shape in scene.shapes if not shape.hero}
    pairs = []
    for shape in scene.singles:
        for side, direction in _SIDES.items():
            cell = (shape.at.cell[0] + STEP[direction][0], shape.at.cell[1] + STEP[direction][1])
            if not shape.hero and cell in standing:
                pairs.append((side, shape.kind, standing[cell].kind))
    if not pairs:
        return None
    side, kind, answer = rng.choice(pairs)
    return Asked({"side": side, "kind": kind}, answer, tuple(other for other in KINDS if other != kind))


TEMPLATES = (
    Template(
        "left or right",
        _left_right,
        train=(
            "Is the {first} left or right of the {second}?",
            "Is the {first} to the left or to the right of the {second}?",
            "Is the {first} right or left of the {second}?",
            "On which side of the {second} is the {first}, left or right?",
            "Which side of the {second} is the {first} on, right or left?",
        ),
        calibration=("Is the {first} to the right or to the left of the {second}?",),
        test=(
            "Is the {first} on the left or on the right of the {second}?",
            "On which side of the {second} is the {first}, right or left?",
        ),
    ),
    Template(
        "above or below",
        _above_below,
        train=(
            "Is the {first} above or below the {second}?",
            "Is the {first} below or above the {second}?",
            "Is the {first} placed above or below the {second}?",
            "Where is the {first}, above or below the {second}?",
            "Tell me if the {first} is above or below the {second}.",
        ),
        calibration=("Where is the {first}, below or above the {second}?",),
        test=(
            "Is the {first} placed below or above the {second}?",
            "Tell me if the {first} is below or above the {second}.",
        ),
    ),
    Template(
        "quarter",
        _quarter,
        train=(
            "Where is the {kind}?",
            "Where is the {kind} in the picture?",
            "In which corner is the {kind}?",
            "Which part of the picture is the {kind} in?",
            "Where do you see the {kind}?",
            "Tell me where the {kind} is.",
        ),
        calibration=("Where is the {kind} placed?", "Which corner is the {kind} in?"),
        test=("In which part of the picture is the {kind}?", "Where can you see the {kind}?"),
    ),
    Template(
        "neighbour",
        _neighbour,
        train=(
            "What is just {side} the {kind}?",
            "Which shape is just {side} the {kind}?",
            "What shape do you see just {side} the {kind}?",
            "Name the shape just {side} the {kind}.",
            "Tell me what is just {side} the {kind}.",
        ),
        calibration=("What shape is just {side} the {kind}?",),
        test=("Which shape do you see just {side} the {kind}?", "Tell me which shape is just {side} the {kind}."),
    ),
)
