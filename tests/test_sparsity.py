"""Shares and patterns of zeros, and the option that names them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from clasp_trt.errors import SparsityError
from clasp_trt.sparsity import Sparsity, check_questions, parse, zeros_of
from tests.mistakes import says


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("0.5", Sparsity(Fraction(1, 2))),
        (".3125", Sparsity(Fraction(5, 16))),
        ("2:4", Sparsity(Fraction(1, 2), (2, 4))),
        ("4:8, wanda", Sparsity(Fraction(1, 2), (4, 8), "wanda")),
        ("0.95,magnitude", Sparsity(Fraction(19, 20), None, "magnitude")),
    ],
)
def test_what_it_names(text: str, meant: Sparsity) -> None:
    assert parse(text) == meant
    assert parse(meant.asked).share == meant.share, "as a manifest says it"


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "1", "0.0", "0.04", "0.96", "1.5", "-0.5", "nan", "inf", "50%", "1/2", "5e-1", "0.33333", "3:2"),
        *("2:5", "0:4", "4:4", "2:", "2:4:8", "0.5,", "0.5,sparsegpt", "0.5,tamp,wanda", "tamp", "\u0660.\u0665"),
    ],
)
def test_what_it_does_not_know_is_refused(text: str) -> None:
    with pytest.raises(SparsityError) as refused:
        parse(text)
    says(refused, "--sparsity", "0.05 to 0.95", "2:4 or 4:8", "tamp, wanda, magnitude")


@pytest.mark.parametrize("text", ["0.5", "2:4", "2:4,wanda"])
def test_a_choice_by_questions_needs_some(text: str) -> None:
    with pytest.raises(SparsityError) as refused:
        check_questions(parse(text), None)
    says(refused, "--calibration D.jsonl", f"{text.partition(',')[0]},magnitude")
    check_questions(parse(text), "D.jsonl")
    check_questions(parse("2:4,magnitude"), None)
    check_questions(None, None)


@pytest.mark.parametrize(
    ("inputs", "share", "count"), [(64, "0.5", 32), (20, "0.33", 7), (3, "0.5", 2), (16, "0.05", 1)]
)
def test_of_an_output_the_number_next_to_the_share(inputs: int, share: str, count: int) -> None:
    assert zeros_of(inputs, Fraction(share)) == zeros_of(inputs, float(share)) == count


@pytest.mark.parametrize(("asked", "most"), [("0.5", "0.6"), ("0.8", "0.9"), ("0.9", "0.95"), ("0.95", "0.975")])
def test_no_matrix_loses_all(asked: str, most: str) -> None:
    assert parse(asked).most == Fraction(most)
