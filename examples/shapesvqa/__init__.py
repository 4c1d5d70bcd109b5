"""ShapesVQA: pictures that the project draws itself, and questions about them in all nine categories.

Everything follows from a seed: ``sample(seed, split)`` is the whole interface for training, ``python -m
examples.shapesvqa`` writes the same questions as files. README.md says what is in the data and what it is not for.
"""

from __future__ import annotations

from examples.shapesvqa.draw import render
from examples.shapesvqa.questions import Question, ask
from examples.shapesvqa.questions.question import SPLITS
from examples.shapesvqa.sampling import draw_questions, sample, scene_seed
from examples.shapesvqa.scene import Scene, make_scene
from examples.shapesvqa.score import matches, normalise
from examples.shapesvqa.words import tokenize, vocabulary

__all__ = [
    "SPLITS",
    "Question",
    "Scene",
    "ask",
    "draw_questions",
    "make_scene",
    "matches",
    "normalise",
    "render",
    "sample",
    "scene_seed",
    "tokenize",
    "vocabulary",
]
