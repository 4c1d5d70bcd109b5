"""Coverage: which things a question names, and where they stand."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from benchmarks.coverage import asked
from examples.shapesvqa import draw_questions


def test_named_things_are_where_they_were_drawn() -> None:
    seen = 0
    for seed in range(40):
        scene, questions = draw_questions(seed, "test")
        for question, things in asked(scene, questions):
            for shape in scene.singles:
                if shape.kind in question.subject:
                    patch = int(shape.at.y // 12) * 12 + int(shape.at.x // 12)
                    assert sum(thing[patch] for thing in things) == 1
                    seen += 1
        assert all(question.template != "place" for question, _ in asked(scene, questions))
    assert seen > 50
