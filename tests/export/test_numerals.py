"""Numbers in words, as num2words has them."""

from __future__ import annotations

import pytest

from clasp_trt.export.numerals import spelled


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (1, "one"),
        (13, "thirteen"),
        (20, "twenty"),
        (64, "sixty-four"),
        (100, "one hundred"),
        (101, "one hundred and one"),
        (340, "three hundred and forty"),
        (512, "five hundred and twelve"),
        (999, "nine hundred and ninety-nine"),
    ],
)
def test_words(number: int, words: str) -> None:
    assert spelled(number) == words


@pytest.mark.parametrize("number", [-1, 1000])
def test_what_has_no_word_here(number: int) -> None:
    with pytest.raises(ValueError, match=str(number)):
        spelled(number)
