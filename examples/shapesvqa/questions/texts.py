"""Text: the digit, letter or word on the sign, a few visual tokens wide."""

from __future__ import annotations

import random

from examples.shapesvqa.questions.question import Asked, Template
from examples.shapesvqa.scene import TEXTS, Scene

_ALL = tuple(text.lower() for texts in TEXTS.values() for text in texts)


def _any(scene: Scene, rng: random.Random) -> Asked | None:
    return Asked({}, scene.sign.text.lower(), _ALL) if scene.sign else None


def _form(scene: Scene, rng: random.Random) -> Asked | None:
    if scene.sign is None:
        return None
    return Asked(
        {"form": scene.sign.form}, scene.sign.text.lower(), tuple(text.lower() for text in TEXTS[scene.sign.form])
    )


TEMPLATES = (
    Template(
        "text",
        _any,
        train=(
            "What is written on the sign?",
            "What does the sign say?",
            "Read the sign.",
            "Read the text on the sign.",
            "What text is on the sign?",
            "Tell me what the sign says.",
        ),
        calibration=("What text does the sign have?", "Tell me what is written on the sign."),
        test=("Which text is written on the sign?", "What is the text on the sign?", "Read what is on the sign."),
    ),
    Template(
        "digit, letter or word",
        _form,
        train=(
            "Which {form} is on the sign?",
            "What {form} is written on the sign?",
            "Read the {form} on the sign.",
            "What {form} does the sign say?",
            "What is the {form} on the sign?",
            "Which {form} do you read?",
        ),
        calibration=("What {form} is on the sign?", "Which {form} does the sign say?"),
        test=("Which {form} is written on the sign?", "What {form} do you read on the sign?"),
    ),
)
