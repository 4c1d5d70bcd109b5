"""Intention and function: what the thing is for; the prompt never names it."""

from __future__ import annotations

import random

from examples.shapesvqa.questions.question import YES_NO, Asked, Template, yes_or_no
from examples.shapesvqa.scene import FUNCTIONS, Scene

_USES = tuple(FUNCTIONS.values())


def _use(scene: Scene, rng: random.Random) -> Asked | None:
    return Asked({}, FUNCTIONS[scene.tool.kind], _USES) if scene.tool else None


def _fit(scene: Scene, rng: random.Random) -> Asked | None:
    if scene.tool is None:
        return None
    use = FUNCTIONS[scene.tool.kind]
    drawn = yes_or_no([use], [other for other in _USES if other != use], rng)
    return Asked({"use": drawn[0]}, drawn[1], YES_NO) if drawn else None


TEMPLATES = (
    Template(
        "use of tool",
        _use,
        train=(
            "What is the tool used for?",
            "What is this tool for?",
            "What can you use the tool for?",
            "What is the use of the tool?",
            "Tell me what the tool is used for.",
            "The tool is used for what?",
        ),
        calibration=("What do you use this tool for?", "What is the use of this tool?"),
        test=("What is this tool used for?", "Tell me what you can use the tool for."),
    ),
    Template(
        "fit for use",
        _fit,
        train=(
            "Is the tool used for {use}?",
            "Can you use the tool for {use}?",
            "Is this tool good for {use}?",
            "Is {use} the use of the tool?",
            "Can this tool be used for {use}?",
        ),
        calibration=("Do you use this tool for {use}?",),
        test=("Is this tool used for {use}?", "Is the tool good for {use}?"),
    ),
)
