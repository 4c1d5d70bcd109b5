"""Questions are drawn in equal numbers, balanced over answers, and apart by picture."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from clasp_trt.tools.calibrate.sampling import sample
from clasp_trt.tools.evaluate.dataset import Row

NAMES = ("a", "b", "default")


def rows(count: int, pictures: int, answers: int) -> list[tuple[str, Row]]:
    return [
        (NAMES[n % 2], Row((Path(f"{n % pictures}.png"),), f"{n}?", f"answer {n * n % answers}", NAMES[n % 2], n + 1))
        for n in range(count)
    ]


@given(
    st.integers(0, 300), st.integers(1, 40), st.integers(1, 9), st.integers(1, 60), st.integers(1, 60), st.integers()
)
def test_parts(count: int, pictures: int, answers: int, questions: int, held_out: int, seed: int) -> None:
    given_rows = rows(count, pictures, answers)
    parts = sample(given_rows, NAMES, questions=questions, held_out=held_out, seed=seed)
    assert tuple(parts) == NAMES
    searched = {row.image for part in parts.values() for row in part.search}
    checked = {row.image for part in parts.values() for row in part.held_out}
    assert not searched & checked
    for name, part in parts.items():
        assert len(part.search) <= questions
        assert len(part.held_out) <= held_out
        drawn = [row.line for row in (*part.search, *part.held_out)]
        assert len(set(drawn)) == len(drawn)
        assert all((name, row) in given_rows for row in (*part.search, *part.held_out))
    assert not parts["default"].search


def test_every_first_so_many_are_balanced() -> None:
    """Ninety of a hundred answers are yes, but not of those that are asked."""
    given_rows = [("a", Row((Path(f"{n}.png"),), "?", "no" if n % 10 == 0 else "yes", "a", n + 1)) for n in range(200)]
    part = sample(given_rows, ["a"], questions=20, held_out=20, seed=3)["a"]
    counts = Counter(row.answer for row in part.search[:12])
    assert abs(counts["yes"] - counts["no"]) <= 1


def test_answers_that_differ_in_punctuation_are_one() -> None:
    texts = ("yes", "Yes.", "YES!", "no")
    given_rows = [("a", Row((Path(f"{n}.png"),), "?", texts[n % 4], "a", n + 1)) for n in range(400)]
    part = sample(given_rows, ["a"], questions=40, held_out=40, seed=0)["a"]
    assert Counter(row.answer for row in part.search)["no"] == 20


def test_parts_have_their_proportion() -> None:
    given_rows = [("a", Row((Path(f"{n}.png"),), "?", "x", "a", n + 1)) for n in range(400)]
    part = sample(given_rows, ["a"], questions=300, held_out=100, seed=0)["a"]
    assert (len(part.search), len(part.held_out)) == (300, 100)


def test_seed_decides() -> None:
    given_rows = rows(200, 50, 3)
    first = sample(given_rows, NAMES, questions=30, held_out=30, seed=1)
    assert sample(given_rows, NAMES, questions=30, held_out=30, seed=1) == first
    assert sample(given_rows, NAMES, questions=30, held_out=30, seed=2) != first


def test_draw_is_the_same_everywhere() -> None:
    """Known values: a change here changes every calibrated policy."""
    part = sample(rows(60, 60, 3), NAMES, questions=10, held_out=10, seed=0)["a"]
    assert [row.line for row in part.search[:4]] == [35, 31, 37, 3]
