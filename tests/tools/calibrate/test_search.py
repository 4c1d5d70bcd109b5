"""The search finds what is best, asks no more than it must, and prefers what was there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_trt.tools.calibrate.search import FIRST_ROUND, is_hopeless, search

QUESTIONS = 100


def skilled(skills: list[int]) -> list[list[bool]]:
    """Candidate ``c`` answers ``skills[c]`` of 100 questions right, spread evenly and not the same for all."""
    return [
        [(37 * question + 11 * c) % QUESTIONS < skill for question in range(QUESTIONS)]
        for c, skill in enumerate(skills)
    ]


@pytest.mark.parametrize("planted", [0, 3, 7])
def test_finds_the_planted_optimum(planted: int) -> None:
    table = skilled([90 if c == planted else 50 + c for c in range(8)])
    assert search(8, QUESTIONS, lambda c, q: table[c][q]).best == planted


def test_rejects_early_what_is_hopeless() -> None:
    table = skilled([60, 5, 90, 0])
    asked: list[tuple[int, int]] = []

    def right(candidate: int, question: int) -> bool:
        asked.append((candidate, question))
        return table[candidate][question]

    found = search(4, QUESTIONS, right)
    assert [len(row) for row in found.right] == [QUESTIONS, FIRST_ROUND, QUESTIONS, FIRST_ROUND]
    assert found.rejected == 2
    assert len(asked) == len(set(asked)) == 2 * QUESTIONS + 2 * FIRST_ROUND


def test_rounds_double() -> None:
    """Each loses its sixth question in another round: of 16, 32, 64 and 128 questions in all."""
    fatal = (10, 20, 40, 80)
    found = search(6, 200, lambda c, q: c == 1 or (c > 1 and not fatal[c - 2] <= q < fatal[c - 2] + 6))
    assert [len(row) for row in found.right] == [200, 200, 16, 32, 64, 128]


def test_first_candidate_is_never_dropped() -> None:
    found = search(2, QUESTIONS, lambda candidate, question: candidate == 1)
    assert found.best == 1
    assert [len(row) for row in found.right] == [QUESTIONS, QUESTIONS]


def test_of_equals_the_first_stays() -> None:
    table = skilled([40, 70, 70, 70])
    table[2] = table[3] = table[1]
    assert search(4, QUESTIONS, lambda c, q: table[c][q]).best == 1
    assert search(4, QUESTIONS, lambda c, q: False).best == 0


def test_question_is_put_to_all_before_the_next() -> None:
    order: list[int] = []
    search(3, 40, lambda candidate, question: not order.append(question))  # type: ignore[func-returns-value]
    assert order == sorted(order)


def test_fewer_questions_than_a_round() -> None:
    assert search(2, 3, lambda candidate, question: candidate == 1).right == ((False,) * 3, (True,) * 3)


@pytest.mark.parametrize(
    ("wins", "losses", "hopeless"),
    [
        (0, 0, False),
        (0, 5, False),
        (0, 6, True),
        (1, 7, False),
        (1, 8, True),
        (6, 0, False),
        (8, 8, False),
        (700, 900, True),
    ],
)
def test_rule_of_rejection(wins: int, losses: int, hopeless: bool) -> None:
    """P(0 of 6) = 1/64 and P(<= 1 of 9) = 10/512 are below 1/40; P(0 of 5) = 1/32 and P(<= 1 of 8) = 9/256 are not."""
    candidate = [True] * wins + [False] * losses + [True, False] * 3
    best = [False] * wins + [True] * losses + [True, False] * 3
    assert is_hopeless(candidate, best) is hopeless


@given(st.lists(st.lists(st.booleans(), min_size=50, max_size=50), min_size=1, max_size=6))
def test_winner_is_the_first_of_the_best_that_were_asked_all(table: list[list[bool]]) -> None:
    found = search(len(table), 50, lambda c, q: table[c][q])
    for candidate, row in enumerate(found.right):
        assert list(row) == table[candidate][: len(row)]
    whole = [c for c, row in enumerate(found.right) if len(row) == 50]
    assert found.best == max(whole, key=lambda c: (sum(table[c]), -c))
    assert found.rejected == len(table) - len(whole)
