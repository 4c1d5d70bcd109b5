"""A seed and a split to a picture with its questions: what training code calls, with no file in between."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from examples.shapesvqa.draw import render
from examples.shapesvqa.questions import Question, ask
from examples.shapesvqa.questions.question import SPLITS
from examples.shapesvqa.scene import REFERENCE, Scene, make_scene

if TYPE_CHECKING:
    from PIL import Image


def scene_seed(seed: int, split: str) -> int:
    """The scene's own seed: each split has a residue class to itself, so no scene is in two splits.

    Raises:
        ValueError: a negative seed, or a split that is none of SPLITS.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
    if seed < 0:
        raise ValueError(f"seed {seed}: expected 0 or more")
    return len(SPLITS) * seed + SPLITS.index(split)


def draw_questions(seed: int, split: str, per_category: int = 1) -> tuple[Scene, list[Question]]:
    """The scene and its questions, with nothing drawn; see :func:`sample`."""
    number = scene_seed(seed, split)
    scene = make_scene(number)
    return scene, ask(scene, split, random.Random(f"shapesvqa questions {number}"), per_category)


def sample(
    seed: int, split: str, *, size: int = REFERENCE, per_category: int = 1
) -> tuple[Image.Image, list[Question]]:
    """One picture and several questions about it.

    Args:
        seed: 0 or more; each is a different scene.
        split: one of SPLITS; they share neither scenes nor phrasings.
        size: width and height, px.
        per_category: most questions in each category, each from another template. A scene that lacks what a
            category asks for (no sign, say) has fewer.

    Returns:
        An RGB picture [size, size], and the questions in the order of the categories.

    Raises:
        ValueError: a negative seed, or an unknown split.
    """
    scene, questions = draw_questions(seed, split, per_category)
    return render(scene, size), questions
