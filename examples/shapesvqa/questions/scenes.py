"""Scene understanding: the place, the time of day, and whether something is there at all."""

from __future__ import annotations

import random

from examples.shapesvqa.questions.question import YES_NO, Asked, Template, yes_or_no
from examples.shapesvqa.scene import COLOURS, KINDS, PLACES, TOOLS, Scene


def _place(scene: Scene, rng: random.Random) -> Asked:
    return Asked({}, scene.place, PLACES)


def _time(scene: Scene, rng: random.Random) -> Asked:
    return Asked({}, "night" if scene.night else "day", ("day", "night"))


def _there(seen: set[str], every: tuple[str, ...], what: str, rng: random.Random) -> Asked | None:
    drawn = yes_or_no([x for x in every if x in seen], [x for x in every if x not in seen], rng)
    return Asked({"what": what.format(drawn[0])}, drawn[1], YES_NO) if drawn else None


def _presence(scene: Scene, rng: random.Random) -> Asked | None:
    by = rng.choice(("kind", "colour", "tool", "person"))
    if by == "kind":
        return _there({shape.kind for shape in scene.shapes}, KINDS, "{}", rng)
    if by == "colour":
        return _there({shape.colour for shape in scene.shapes}, COLOURS, "{} shape", rng)
    if by == "tool" and scene.tool:
        return _there({scene.tool.kind}, TOOLS, "{}", rng)
    return Asked({"what": "person"}, "yes" if scene.person else "no", YES_NO)  # half of all scenes have one


TEMPLATES = (
    Template(
        "place",
        _place,
        train=(
            "What place is this?",
            "Which place is shown in the picture?",
            "What kind of place do you see?",
            "Name the place in the picture.",
            "What scene is this?",
            "Which scene does the picture show?",
        ),
        calibration=("What kind of scene is this?", "Name the place."),
        test=("What kind of place is this?", "Which place does the picture show?", "What scene do you see?"),
    ),
    Template(
        "time of day",
        _time,
        train=(
            "Is it day or night?",
            "Is it night or day in the picture?",
            "Does the picture show day or night?",
            "Is this scene at night or in the day?",
            "What time is it, day or night?",
        ),
        calibration=("Is it night or day?", "Is this day or night?"),
        test=("Is it day or night in this scene?", "Does the scene show night or day?"),
    ),
    Template(
        "presence",
        _presence,
        train=(
            "Is there a {what}?",
            "Is there a {what} in the picture?",
            "Does the picture have a {what}?",
            "Do you see a {what}?",
            "Can you see a {what} in the picture?",
            "Is a {what} in the scene?",
        ),
        calibration=("Can you see a {what}?", "Does the scene have a {what}?"),
        test=("Is there a {what} in the scene?", "Do you see a {what} in the picture?", "Does this have a {what}?"),
    ),
)
