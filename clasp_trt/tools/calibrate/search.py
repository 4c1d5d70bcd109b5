"""The search of one category: rounds that grow, after each of which hopeless candidates are dropped.

Candidates are compared question by question with the best so far. Among the questions that exactly one of the two
answers right, let a candidate win ``w`` and lose ``l``. It is dropped when the one-sided 97.5 % upper confidence bound
of its chance to win such a question (Clopper and Pearson, 1934) lies below one half, which is to say: when a fair coin
gives ``w`` heads or fewer in ``w + l`` throws less often than once in 40 times. So no candidate goes before it has lost
six questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import comb

FIRST_ROUND = 16
_ODDS = 40  # one in so many: 2.5 %

Right = Callable[[int, int], bool]
"""Whether a candidate answers a question right, both by number."""


@dataclass(frozen=True)
class Found:
    """``best`` is the winner's number. ``right`` says of each candidate which of the questions it got right, in their
    order: a candidate with fewer than the winner's was dropped."""

    best: int
    right: tuple[tuple[bool, ...], ...]

    @property
    def rejected(self) -> int:
        """How many candidates were dropped before the last question."""
        return sum(len(row) < len(self.right[self.best]) for row in self.right)


def search(candidates: int, questions: int, right: Right) -> Found:
    """The candidate of 0 to ``candidates`` - 1 that answers most of ``questions`` right; of equals, the lowest number.

    Candidate 0, what there was before, is never dropped. A round takes its questions in order and asks all remaining
    candidates each, so that what a question alone determines is computed once. At least one of both is needed.
    """
    answers: list[list[bool]] = [[] for _ in range(candidates)]
    remaining, best = list(range(candidates)), 0
    for first, end in _rounds(questions):
        for question in range(first, end):
            for candidate in remaining:
                answers[candidate].append(right(candidate, question))
        best = max(remaining, key=lambda candidate: sum(answers[candidate]))  # the first of equals
        remaining = [each for each in remaining if each == 0 or not is_hopeless(answers[each], answers[best])]
    return Found(best, tuple(map(tuple, answers)))


def is_hopeless(candidate: Sequence[bool], best: Sequence[bool]) -> bool:
    """Whether a candidate that answered the same questions is dropped, by the rule of this module."""
    wins = sum(mine and not its for mine, its in zip(candidate, best, strict=True))
    losses = sum(its and not mine for mine, its in zip(candidate, best, strict=True))
    throws = wins + losses
    tail: int = sum(comb(throws, heads) for heads in range(wins + 1))
    return _ODDS * tail < 1 << throws  # exact: these are integers


def _rounds(questions: int) -> Iterator[tuple[int, int]]:
    """Ranges that together are all questions: 16, then as many again as were asked before."""
    first, end = 0, FIRST_ROUND
    while first < questions:
        yield first, min(end, questions)
        first, end = end, 2 * end
