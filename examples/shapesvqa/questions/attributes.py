"""Attributes: colour, pattern, size of something named."""

from __future__ import annotations

import random

from examples.shapesvqa.questions.question import Asked, Template
from examples.shapesvqa.scene import BIG, COLOURS, TEXTURES, Scene


def _shape_colour(scene: Scene, rng: random.Random) -> Asked:
    shape = rng.choice(scene.singles)
    return Asked({"kind": shape.kind}, shape.colour, COLOURS)


def _tool_colour(scene: Scene, rng: random.Random) -> Asked | None:
    return Asked({"tool": scene.tool.kind}, scene.tool.colour, COLOURS) if scene.tool else None


def _sign_colour(scene: Scene, rng: random.Random) -> Asked | None:
    return Asked({}, scene.sign.colour, COLOURS) if scene.sign else None


def _texture(scene: Scene, rng: random.Random) -> Asked | None:
    wide = [shape for shape in scene.singles if shape.diameter >= BIG[0]]
    if not wide:
        return None
    shape = rng.choice(wide)
    return Asked({"kind": shape.kind}, shape.texture, TEXTURES)


def _size(scene: Scene, rng: random.Random) -> Asked:
    shape = rng.choice([shape for shape in scene.singles if not shape.hero])
    return Asked({"kind": shape.kind}, "big" if shape.diameter >= BIG[0] else "small", ("big", "small"))


_COLOUR_TRAIN = (
    "What colour is the {0}?",
    "Which colour does the {0} have?",
    "What is the colour of the {0}?",
    "Tell me the colour of the {0}.",
    "The {0} is what colour?",
    "Name the colour of the {0}.",
)
_COLOUR_CALIBRATION = ("Which colour is the {0}?", "What colour of {0} is this?")
_COLOUR_TEST = ("What colour does the {0} have?", "Tell me what colour the {0} is.")


def _about(phrasings: tuple[str, ...], what: str) -> tuple[str, ...]:
    return tuple(phrasing.replace("{0}", what) for phrasing in phrasings)


TEMPLATES = (
    *(
        Template(
            name,
            find,
            train=_about(_COLOUR_TRAIN, what),
            calibration=_about(_COLOUR_CALIBRATION, what),
            test=_about(_COLOUR_TEST, what),
        )
        for name, find, what in (
            ("colour of shape", _shape_colour, "{kind}"),
            ("colour of tool", _tool_colour, "{tool}"),
            ("colour of sign", _sign_colour, "sign"),
        )
    ),
    Template(
        "pattern of shape",
        _texture,
        train=(
            "What pattern does the {kind} have?",
            "Which pattern is on the {kind}?",
            "What is the pattern of the {kind}?",
            "Tell me the pattern on the {kind}.",
            "Name the pattern of the {kind}.",
        ),
        calibration=("Which pattern does the {kind} have?",),
        test=("What pattern is on the {kind}?", "Tell me what the pattern on the {kind} is."),
    ),
    Template(
        "size of shape",
        _size,
        train=(
            "Is the {kind} big or small?",
            "What size is the {kind}, big or small?",
            "Is the size of the {kind} small or big?",
            "Tell me the size of the {kind}, big or small.",
            "Is this {kind} small or big?",
        ),
        calibration=("Is the {kind} small or big?",),
        test=("What is the size of the {kind}, small or big?", "Which size is the {kind}, big or small?"),
    ),
)
