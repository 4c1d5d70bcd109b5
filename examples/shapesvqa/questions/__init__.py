"""The questions, a file per category; each holds its templates."""

from __future__ import annotations

import random

from clasp_trt.policy import CATEGORY_NAMES
from examples.shapesvqa.questions import (
    actions,
    attributes,
    counting,
    functions,
    mixed,
    objects,
    scenes,
    spatial,
    texts,
)
from examples.shapesvqa.questions.question import Question, Template
from examples.shapesvqa.scene import Scene

__all__ = ["BY_CATEGORY", "TEMPLATES", "Question", "ask"]

BY_CATEGORY: dict[str, tuple[Template, ...]] = dict(
    zip(
        CATEGORY_NAMES,
        (
            objects.TEMPLATES,
            attributes.TEMPLATES,
            texts.TEMPLATES,
            scenes.TEMPLATES,
            spatial.TEMPLATES,
            counting.TEMPLATES,
            actions.TEMPLATES,
            functions.TEMPLATES,
            mixed.TEMPLATES,
        ),
        strict=True,
    )
)

TEMPLATES: tuple[Template, ...] = tuple(template for templates in BY_CATEGORY.values() for template in templates)


def ask(scene: Scene, split: str, rng: random.Random, per_category: int = 1) -> list[Question]:
    """Up to ``per_category`` questions in each category, each from another template, in the categories' order."""
    questions: list[Question] = []
    for category, templates in BY_CATEGORY.items():
        shuffled = rng.sample(templates, len(templates))
        found = (template.ask(scene, category, split, rng) for template in shuffled)
        questions += [question for question in found if question is not None][:per_category]
    return questions
