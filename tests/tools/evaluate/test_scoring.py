"""What counts as the same answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_trt.tools.evaluate.scoring import matches


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("The star.", "star"),
        ("  two\n", "Two"),
        ("top-left", "top left"),
        ("snake_case", "snake case"),
        ("A", "a"),  # an article alone is an answer: the letter of a choice
        ("B.", "B"),
        ("STRASSE", "straße"),
        ("ｔｗｏ", "two"),
        ("三个。", "三个"),
        (" + ", "+"),
    ],
)
def test_same(said: str, answer: str) -> None:
    assert matches(said, answer)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("", "star"),
        ("the", "star"),
        ("stars", "star"),
        ("a star and a circle", "star"),
        ("the", "a"),
        ("-", "+"),
        ("", "+"),
        ("top left", "left top"),
    ],
)
def test_not_the_same(said: str, answer: str) -> None:
    assert not matches(said, answer)


@given(st.text())
def test_every_answer_is_itself(text: str) -> None:
    assert matches(text, text)


@given(st.text(), st.text())
def test_order_does_not_matter(one: str, other: str) -> None:
    assert matches(one, other) == matches(other, one)
