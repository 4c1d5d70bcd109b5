"""What a question is, and the template that makes one."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from examples.shapesvqa.scene import Scene

SPLITS = ("train", "calibration", "test")

PLURALS = {
    "circle": "circles",
    "square": "squares",
    "triangle": "triangles",
    "star": "stars",
    "heart": "hearts",
    "cross": "crosses",
    "moon": "moons",
    "ring": "rings",
}

YES_NO = ("yes", "no")


@dataclass(frozen=True)
class Question:
    """A question with its answer.

    Attributes:
        prompt: the text asked.
        answer: one or two words.
        category: a name of ``clasp_trt.policy.CATEGORY_NAMES``.
        template: which template made it.
        subject: what filled its gaps, in order. Template and subject are all that a text-only model can use: the
            phrasing is drawn independently of everything.
        choices: the answers that are possible given template and subject, near equally likely.
    """

    prompt: str
    answer: str
    category: str
    template: str
    subject: tuple[str, ...]
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """What a template found to ask: fillers of the phrasing's gaps, the answer, and the possible answers."""

    fill: Mapping[str, str]
    answer: str
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Template:
    """One thing to ask, in many phrasings; no phrasing is in two splits.

    Attributes:
        find: looks for something to ask; None if the scene has nothing. Whether it finds something must not
            depend on the answer, or the answers become lopsided.
    """

    name: str
    find: Callable[[Scene, random.Random], Asked | None]
    train: tuple[str, ...]
    calibration: tuple[str, ...]
    test: tuple[str, ...]

    def of(self, split: str) -> tuple[str, ...]:
        """The phrasings of a split."""
        return {"train": self.train, "calibration": self.calibration, "test": self.test}[split]

    def ask(self, scene: Scene, category: str, split: str, rng: random.Random) -> Question | None:
        """A question about the scene, or None if it has nothing to ask for."""
        asked = self.find(scene, rng)
        if asked is None:
            return None
        prompt = rng.choice(self.of(split)).format(**asked.fill)
        return Question(prompt, asked.answer, category, self.name, tuple(asked.fill.values()), asked.choices)


def yes_or_no(present: list[str], absent: list[str], rng: random.Random) -> tuple[str, str] | None:
    """Something to ask for, there in half of the cases, and the answer; None unless both answers were possible."""
    if not present or not absent:
        return None
    there = rng.random() < 0.5
    return rng.choice(present if there else absent), "yes" if there else "no"
