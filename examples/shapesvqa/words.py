"""The closed vocabulary: every word that a question or an answer of any split can hold."""

from __future__ import annotations

import re

from examples.shapesvqa import scene
from examples.shapesvqa.questions import TEMPLATES
from examples.shapesvqa.questions.question import PLURALS, SPLITS

_ANSWERS = ("yes", "no", "top", "bottom", "left", "right", "above", "below", "day", "night", "big", "small")
_FILLERS: tuple[str, ...] = (
    *_ANSWERS,
    "person",
    "shape",
    "shapes",
    *scene.TEXTS,
    *scene.KINDS,
    *PLURALS.values(),
    *scene.COLOURS,
    *scene.TEXTURES,
    *scene.PLACES,
    *scene.DIRECTIONS,
    *scene.ACTIONS,
    *scene.TOOLS,
    *scene.FUNCTIONS.values(),
    *scene.DIGITS,
    *scene.LETTERS,
    *scene.WORDS,
)


def tokenize(text: str) -> list[str]:
    """Lower case words, numbers and single punctuation marks. No letter of a sign is an article in lower case."""
    return re.findall(r"[a-z]+|[0-9]+|[^\sa-z0-9]", text.lower())


def vocabulary(splits: tuple[str, ...] = SPLITS) -> tuple[str, ...]:
    """All words of the splits' phrasings and of everything that fills them, sorted."""
    phrasings = [re.sub(r"{\w+}", " ", p) for template in TEMPLATES for split in splits for p in template.of(split)]
    return tuple(sorted({word for text in (*phrasings, *_FILLERS) for word in tokenize(text)}))
