"""What a tower is asked to drop, and what that makes of a schedule."""

from __future__ import annotations

from fractions import Fraction

import pytest

from clasp_trt.errors import ScheduleError
from clasp_trt.options import Options, Pruning
from clasp_trt.schedule import Schedule
from clasp_trt.thinning import AskedThinning, Thinning
from tests.mistakes import says

HALF = Thinning(6, 288, 576)


@pytest.mark.parametrize(
    ("text", "stays"),
    [("6:50%", Fraction(1, 2)), (" 6:1/3 ", Fraction(1, 3)), ("6:288", 288), ("6:12.5%", Fraction(1, 8))],
)
def test_asked(text: str, stays: int | Fraction) -> None:
    assert AskedThinning.parse(text) == AskedThinning(6, stays)


@pytest.mark.parametrize(
    "text", ["", "6", "50%", "6:", ":50%", "0:50%", "6:100%", "6:paper:64", "-1:50%", "6:x", 6, None]
)
def test_what_asks_for_nothing_is_refused(text: object) -> None:
    with pytest.raises(ScheduleError) as error:
        AskedThinning.parse(text)
    says(error, "--prune-tower", "6:50%")


def test_of_a_tower() -> None:
    assert AskedThinning(6, Fraction(1, 2)).of(576, 23) == HALF
    assert AskedThinning(6, Fraction(1, 8)).of(100, 23).keep == 13  # a half is rounded up


@pytest.mark.parametrize(("block", "stays", "facts"), [(23, 288, (23, 22)), (6, 576, (576, 575)), (6, 0, (0, 576))])
def test_what_gains_nothing_is_refused(block: int, stays: int, facts: tuple[int, ...]) -> None:
    with pytest.raises(ScheduleError) as error:
        AskedThinning(block, stays).of(576, 23)
    says(error, "--prune-tower", *facts)


def test_stages_choose_among_what_is_left() -> None:
    made = Pruning(budget=64).schedule(576, 32, thinning=HALF)
    assert made.tokens == 576
    assert made.entering() == made.reaching(0) == 288
    assert max(made.keeps) < 288
    assert made.mean_tokens == pytest.approx(64, abs=0.25)
    assert made.mean_tokens == sum(made.reaching(layer) for layer in range(32)) / 32
    assert Schedule.from_json(made.to_json()) == made
    says(made.describe(), 576, 288, "block 6")


@pytest.mark.parametrize(("at", "mean"), [("decoder", 96), ("encoder", 96), ("none", 288)])
def test_whatever_prunes_behind_it(at: str, mean: int) -> None:
    """By default to a third of what it leaves."""
    assert Pruning(at).schedule(576, 32, thinning=HALF).mean_tokens == pytest.approx(mean, abs=0.25)


def test_of_several_pictures() -> None:
    made = Pruning(budget=Fraction(1, 9)).schedule(1152, 32, varies=True, thinning=HALF)
    assert [made.entering(tokens) for tokens in (0, 576, 1152)] == [0, 288, 576]
    assert made.mean_of(576) == pytest.approx(64, abs=0.5)
    assert made.keeps_of(0) == (0, 0, 0)


def test_more_than_it_leaves_is_refused() -> None:
    with pytest.raises(ScheduleError) as error:
        Pruning(budget=300).schedule(576, 32, thinning=HALF)
    says(error, 300, 288, "--prune-tower")


def test_parts_of_pictures_are_refused() -> None:
    with pytest.raises(ScheduleError) as error:
        Schedule(577, 4, (), "none", HALF)
    says(error, 577, 576)


def test_options() -> None:
    assert Options.of(prune_tower="6:288").pruning.tower == AskedThinning(6, 288)
