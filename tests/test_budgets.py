"""Budgets as people write them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_trt import schedule
from clasp_trt.budgets import PAPER, Budget, Published, mean, parse
from clasp_trt.errors import ScheduleError
from clasp_trt.options import Options, Pruning
from tests.mistakes import says


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (64, 64),
        ("64", 64),
        (" 64 ", 64),
        ("1/9", Fraction(1, 9)),
        ("25/48", Fraction(25, 48)),
        (Fraction(1, 3), Fraction(1, 3)),
        ("50%", Fraction(1, 2)),
        ("11.1%", Fraction(111, 1000)),
        ("paper:192", Published(192)),
        ("paper:320", Published(64)),
    ],
)
def test_what_is_written(written: Any, meant: Budget) -> None:
    assert parse(written) == meant


@pytest.mark.parametrize(
    "written", ["", "many", "-1", "1.5", "64 tokens", "1/0", "1:9", "paper:96", "paper:", "%", 0.5, True]
)
def test_what_is_no_budget(written: object) -> None:
    with pytest.raises(ScheduleError) as error:
        parse(written)
    says(error, "64", "1/9", "11.1%", "paper:192")


@pytest.mark.parametrize("written", ["0/9", "9/9", "10/9", "0%", "100%", "250%", Fraction(1), Fraction(-1, 2)])
def test_shares_lie_between_none_and_all(written: str | Fraction) -> None:
    with pytest.raises(ScheduleError) as error:
        parse(written)
    says(error, written, "--prune-at none")


@given(share=st.fractions(0, 1).filter(lambda share: 0 < share < 1), tokens=st.integers(1, 10_000))
def test_a_share_is_rounded_to_the_nearest_count_but_never_to_none(share: Fraction, tokens: int) -> None:
    found = mean(share, tokens)
    assert 1 <= found <= tokens
    assert found == 1 or abs(found - share * tokens) <= Fraction(1, 2)


def test_half_a_token_counts_as_one() -> None:
    assert mean(Fraction(1, 4), 10) == 3


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_names_mean_their_share(name: str) -> None:
    tokens = 2880 if name == "320" else 576
    assert mean(parse(f"paper:{name}"), tokens) == int(name)


def test_a_share_is_the_count_that_it_makes_of_the_models_tokens() -> None:
    assert Options.of(budget="1/9").pruning.schedule(576, 40) == schedule.solve(576, 40, 64)
    assert Options.of(budget="50%", prune_at="encoder").pruning.schedule(576, 32) == schedule.encoder(576, 32, 288)


def test_the_papers_stages_stand_as_they_are_wherever_they_are_asked_for() -> None:
    asked = Options.of(budget="paper:64").pruning
    assert asked.schedule(576, 32) == schedule.solve(576, 32, 64)
    assert asked.schedule(576, 40).keeps == (66, 30, 17)
    assert asked.mean(2880) == 320


def test_the_default_is_a_third() -> None:
    assert Pruning().mean(576) == 192
