"""How well a text-only model can do: the bound that every accuracy on this data is to be read beside.

All that such a model can use is a question's template and subject; the phrasing is drawn independently of the rest. The
best it can do is to give, for each, the answer that is commonest. That answer is learned here from some questions
and scored on others, since a majority scored on its own sample flatters itself; *chance* is what an even guess
among the possible answers would score.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from examples.shapesvqa.questions import Question


@dataclass(frozen=True)
class Blind:
    """Over one category or template, of ``questions``: shares that are right, 0..1."""

    questions: int
    bound: float
    chance: float


def blind(learn: Iterable[Question], score: Iterable[Question], by: str = "category") -> dict[str, Blind]:
    """The bound and chance, per category or (``by="template"``) per template.

    A question whose template and subject were not met in ``learn`` counts with its chance.
    """
    answers: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for question in learn:
        answers[_asked(question)][question.answer] += 1
    best = {asked: counts.most_common(1)[0][0] for asked, counts in answers.items()}
    sums: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for question in score:
        chance = 1 / len(question.choices)
        guess = best.get(_asked(question))
        total = sums[getattr(question, by)]
        for place, value in enumerate((1, chance if guess is None else guess == question.answer, chance)):
            total[place] += value
    return {name: Blind(round(n), right / n, chance / n) for name, (n, right, chance) in sums.items()}


def _asked(question: Question) -> tuple[str, ...]:
    return (question.template, *question.subject)
