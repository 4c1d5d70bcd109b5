"""Schedules: the published table, the solver's promises for any model, and every refusal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clasp_trt import schedule
from clasp_trt.errors import ScheduleError
from clasp_trt.schedule import Schedule, Stage

ROOT = Path(__file__).resolve().parents[1]


@st.composite
def solvable(draw: st.DrawFn) -> tuple[int, int, tuple[int, ...] | None, int, int]:
    """Tokens, layers, prune layers (None: the default), and the range of budgets that the stages can meet."""
    layers = draw(st.integers(4, 80))
    tokens = draw(st.integers(16, 2880))
    chosen = None
    if draw(st.booleans()):
        chosen = tuple(sorted(draw(st.sets(st.integers(0, layers - 2), min_size=1, max_size=6))))
    after = chosen or schedule.default_prune_layers(layers)
    # The mean is smallest when the stages keep n, ..., 1 and largest when they drop one token each.
    smallest = layers_mean(tokens, layers, after, range(len(after), 0, -1))
    largest = layers_mean(tokens, layers, after, range(tokens - 1, tokens - 1 - len(after), -1))
    low, high = int(-(-smallest // 1)), int(largest // 1)
    assume(low <= high)
    return tokens, layers, chosen, low, high


def layers_mean(tokens: int, layers: int, after: Sequence[int], keeps: Sequence[int]) -> float:
    """The mean by its definition: look at every layer."""
    stages = list(zip(after, keeps, strict=True))
    return sum(min([tokens, *(keep for last, keep in stages if last < i)]) for i in range(layers)) / layers


@pytest.mark.parametrize(
    ("budget", "keeps", "mean"),
    [
        (192, (300, 200, 110), 202.75),
        (128, (303, 110, 36), 140.8125),
        (96, (238, 48, 26), 110.25),
        (64, (66, 30, 17), 79.1875),
    ],
)
def test_published(budget: int, keeps: tuple[int, ...], mean: float) -> None:
    found = schedule.solve(576, 32, budget)
    assert (found.keeps, found.prune_layers, found.source) == (keeps, (2, 6, 15), "published")
    assert found.mean_tokens == mean
    assert schedule.solve(576, 32, budget, (2, 6, 15)) == found
    assert schedule.solve(576, 32, budget, (2, 6, 16)).source == "solved"


@pytest.mark.parametrize(
    ("layers", "after"),
    [(32, (2, 6, 15)), (40, (3, 8, 19)), (28, (2, 5, 13)), (80, (7, 17, 39)), (8, (0, 1, 3)), (4, (0, 1, 2))],
)
def test_default_prune_layers(layers: int, after: tuple[int, int, int]) -> None:
    assert schedule.default_prune_layers(layers) == after


@pytest.mark.parametrize(
    ("layers", "after"), [(26, (5, 11, 17)), (34, (5, 11, 17)), (48, (5, 11, 23)), (62, (5, 11, 29)), (12, (0, 2, 5))]
)
def test_layers_that_see_a_window_give_way_to_the_nearest_that_see_all(
    layers: int, after: tuple[int, int, int]
) -> None:
    """Of a decoder whose every sixth layer sees all; of 12 layers that leaves but one before the last."""
    assert schedule.default_prune_layers(layers, frozenset(n for n in range(layers) if n % 6 != 5)) == after


def test_layers_that_see_all_stay() -> None:
    assert schedule.default_prune_layers(32, frozenset({0, 1, 3})) == (2, 6, 15)


@given(st.integers(4, 400))
def test_default_prune_layers_fit_any_depth(layers: int) -> None:
    first, second, third = schedule.default_prune_layers(layers)
    assert 0 <= first < second < third <= layers - 2


@settings(deadline=None)
@given(solvable(), st.data())
def test_solved_schedule_meets_its_budget(case: Any, data: st.DataObject) -> None:
    tokens, layers, chosen, low, high = case
    budget = data.draw(st.integers(low, high))
    found = schedule.solve(tokens, layers, budget, chosen)
    assume(found.source == "solved")
    assert found.prune_layers == (chosen or schedule.default_prune_layers(layers))
    counts = (tokens, *found.keeps)
    assert all(later < earlier for earlier, later in pairwise(counts))
    assert counts[-1] >= 1
    assert found.mean_tokens == pytest.approx(layers_mean(tokens, layers, found.prune_layers, found.keeps), rel=1e-12)
    # One token more in the longest run changes the mean by its length over the depth: be within half of that.
    longest = max(last - first + 1 for first, last in found.segments()[1:])
    assert abs(found.mean_tokens - budget) <= longest / layers / 2 + 1e-9


@settings(deadline=None)
@given(solvable(), st.data())
def test_larger_budget_never_keeps_fewer(case: Any, data: st.DataObject) -> None:
    tokens, layers, chosen, low, high = case
    budgets = sorted(data.draw(st.tuples(st.integers(low, high), st.integers(low, high))))
    smaller, larger = (schedule.solve(tokens, layers, budget, chosen) for budget in budgets)
    assume(smaller.source == larger.source == "solved")
    assert all(a <= b for a, b in zip(smaller.keeps, larger.keeps, strict=True))


@settings(deadline=None)
@given(solvable())
def test_budgets_just_out_of_reach_are_refused(case: Any) -> None:
    tokens, layers, chosen, low, high = case
    with pytest.raises(ScheduleError, match=f"at least {low}|from 1 to"):
        schedule.solve(tokens, layers, low - 1, chosen)
    with pytest.raises(ScheduleError, match=f"at most {high},|--prune-at none"):
        schedule.solve(tokens, layers, high + 1, chosen)


@settings(deadline=None)
@given(solvable(), st.data())
def test_json_round_trip(case: Any, data: st.DataObject) -> None:
    tokens, layers, chosen, low, high = case
    solved = schedule.solve(tokens, layers, data.draw(st.integers(low, high)), chosen)
    for original in (solved, schedule.encoder(tokens, layers, 1), schedule.none(tokens, layers)):
        assert Schedule.from_json(original.to_json()) == original


def test_segments_cover_the_decoder() -> None:
    assert schedule.solve(576, 32, 192).segments() == ((0, 2), (3, 6), (7, 15), (16, 31))
    assert schedule.given(576, 32, (100,), (30,)).segments() == ((0, 30), (31, 31))
    assert schedule.encoder(576, 32, 64).segments() == ((0, 31),)
    assert schedule.none(576, 32).segments() == ((0, 31),)


def test_the_layer_before_a_prune_can_stand_apart() -> None:
    found = schedule.given(576, 32, (300, 200, 110), (0, 6, 7))
    assert found.stages_apart() == ((0, 0), (1, 5), (6, 6), (7, 7), (8, 31))
    for whole in (schedule.encoder(576, 32, 64), schedule.none(576, 32)):
        assert whole.stages_apart() == whole.segments()


def test_means_without_decoder_stages() -> None:
    assert schedule.encoder(576, 32, 64).mean_tokens == 64
    assert schedule.none(576, 32).mean_tokens == 576


def test_describe() -> None:
    assert schedule.solve(576, 32, 192).describe() == (
        "576 -> 300 after layer 2 -> 200 after layer 6 -> 110 after layer 15"
        " (mean 202.8 visual tokens over 32 layers, published)"
    )
    assert schedule.encoder(144, 8, 48).describe() == (
        "144 -> 48 before the decoder (mean 48.0 visual tokens over 8 layers, encoder)"
    )
    assert schedule.none(144, 8).describe() == "144 (mean 144.0 visual tokens over 8 layers, not pruned)"


def test_given_keeps_what_it_is_given() -> None:
    found = schedule.given(576, 32, (300, 200, 110))
    assert (found.keeps, found.prune_layers, found.source) == ((300, 200, 110), (2, 6, 15), "given")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((576, 32, 577), "577 is more than the 576 visual tokens; ask for at most 575"),
        ((576, 32, 576), "keeps every visual token; use --prune-at none"),
        ((576, 32, None), "--prune-at none"),
        ((576, 32, True), "got true"),
        ((576, 32, 64.0), "got 64.0"),
        ((576, 32, 0), "from 1 to 575, got 0"),
        (
            (576, 32, 55),
            "layers 0-2 run all 576 .* at least 56, or prune earlier with --prune-layers, or use --prune-at",
        ),
        (
            (576, 32, 18, (0,)),
            "layer 0 runs all 576 visual tokens; ask for at least 19, or use --prune-at encoder",
        ),
        ((576, 32, 575), "at most 573, or use --prune-at none"),
        ((576, 3, 64), "3 decoder layers are too few .* at least 4: .*--prune-layers"),
        ((3, 32, 2), "3 pruning stages need at least 4 visual tokens, got 3"),
        ((True, 32, 64), "tokens: expected a whole number"),
        ((576, "32", 64), "layers: expected a whole number"),
        ((576, 32, 64, ()), "no prune layers"),
        ((576, 32, 64, (2, 2, 6)), "2, 2, 6 do not ascend"),
        ((576, 32, 64, (-1, 6)), "-1 is negative; .* --prune-at encoder"),
        ((576, 32, 64, (2, 31)), "after layer 31 no layer is left"),
        ((576, 32, 64, (2, True)), "true is not a whole number"),
    ],
)
def test_solve_refuses(arguments: tuple[Any, ...], line: str) -> None:
    with pytest.raises(ScheduleError, match=line) as caught:
        schedule.solve(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keeps", "after", "line"),
    [
        ((300, 200), None, "2 token counts for 3 prune layers \\(2, 6, 15\\)"),
        ((300, 300, 110), None, "300, 300, 110 do not descend"),
        ((576, 200, 110), None, "keeps 576 of 576 tokens; expected at most 575 .*--prune-at none"),
        ((300, 200, 0), None, "0 is not a token count"),
        ((300, 200, True), None, "true is not a token count"),
        ((300,), (31,), "after layer 31"),
    ],
)
def test_given_refuses(keeps: Any, after: Any, line: str) -> None:
    with pytest.raises(ScheduleError, match=line):
        schedule.given(576, 32, keeps, after)


@pytest.mark.parametrize("budget", [0, 144, 145, None, True])
def test_encoder_refuses(budget: Any) -> None:
    with pytest.raises(ScheduleError, match="budget"):
        schedule.encoder(144, 8, budget)


GOOD: dict[str, Any] = {
    "tokens": 576,
    "layers": 32,
    "source": "given",
    "stages": [{"after_layer": 2, "keep": 300}, {"after_layer": 6, "keep": 200}],
}


def test_good_json_is_good() -> None:
    assert Schedule.from_json(GOOD) == Schedule(576, 32, (Stage(2, 300), Stage(6, 200)), "given")


@pytest.mark.parametrize(
    ("broken", "line"),
    [
        ([], "expected an object with tokens, layers, source, stages"),
        ({**GOOD, "mean": 3}, "unknown key 'mean'"),
        ({key: value for key, value in GOOD.items() if key != "layers"}, "missing key 'layers'"),
        ({**GOOD, "tokens": True}, "tokens: expected a whole number .*got true"),
        ({**GOOD, "tokens": 576.0}, "tokens: expected a whole number"),
        ({**GOOD, "tokens": 10**400}, "tokens: expected a whole number from 1"),
        ({**GOOD, "layers": 0}, "layers: expected a whole number from 1"),
        ({**GOOD, "source": "paper"}, "source: expected one of published"),
        ({**GOOD, "source": None}, "source: expected one of published"),
        ({**GOOD, "stages": {}}, "stages: expected an array"),
        ({**GOOD, "stages": [{"after_layer": 2}]}, "stages\\[0\\]: missing key 'keep'"),
        (
            {**GOOD, "stages": [{"after_layer": 2, "keep": "3"}]},
            "stages\\[0\\].keep: expected a whole number",
        ),
        ({**GOOD, "stages": [7]}, "stages\\[0\\]: expected an object"),
        ({**GOOD, "stages": []}, "'given' needs at least one stage"),
        ({**GOOD, "source": "none"}, "'none' has no stages"),
        ({**GOOD, "source": "encoder"}, "'encoder' has one, after layer -1, got 2, 6"),
        ({**GOOD, "source": "published"}, "not the counts that were published"),
        ({**GOOD, "stages": [{"after_layer": -1, "keep": 3}]}, "-1 is negative"),
        ({**GOOD, "stages": GOOD["stages"][::-1]}, "6, 2 do not ascend"),
    ],
)
def test_json_refuses(broken: object, line: str) -> None:
    with pytest.raises(ScheduleError, match=line):
        Schedule.from_json(broken)


def test_documented_means_are_the_solver_s() -> None:
    rows = re.findall(
        r"^\| (\d+) \| (\d+) \| (\d+) \| ([\d, ]+) \| ([\d, ]+) \| ([\d.]+) \| (\w+) \|$",
        (ROOT / "docs" / "schedule.md").read_text(),
        re.MULTILINE,
    )
    assert len(rows) >= 10
    for tokens, layers, budget, after, keeps, mean, source in rows:
        found = schedule.solve(int(tokens), int(layers), int(budget))
        assert found.prune_layers == tuple(map(int, after.split(", ")))
        assert found.keeps == tuple(map(int, keeps.split(", ")))
        assert (f"{found.mean_tokens:.2f}", found.source) == (mean, source)


def test_documented_shares_of_the_papers_budgets() -> None:
    rows = re.findall(
        r"^\| (\d+) \| ([\d, ]+) \| (0\.\d{3}) \| (0\.\d{3}) \| (0\.\d{3}) \|$",
        (ROOT / "docs" / "schedule.md").read_text(),
        re.MULTILINE,
    )
    assert [int(layers) for layers, *_ in rows] == [18, 24, 26, 28, 32, 34, 36, 48, 62]
    for layers, after, *shares in rows:
        found = [schedule.published(576, int(layers), budget) for budget in (192, 128, 64)]
        assert {each.prune_layers for each in found} == {tuple(map(int, after.split(", ")))}
        assert [f"{each.mean_tokens / 576:.3f}" for each in found] == shares


def test_the_papers_budgets() -> None:
    assert schedule.published(576, 32, 64) == schedule.solve(576, 32, 64)
    next_ = schedule.published(2880, 32, 64)
    assert (next_.keeps, next_.source) == ((330, 150, 85), "published-shares")
    assert Schedule.from_json(next_.to_json()) == next_
    assert schedule.published(576, 32, 64, (3, 6, 15)).source == "published-shares"
    with pytest.raises(ScheduleError, match=r"three stages.*names 2"):
        schedule.published(576, 32, 64, (3, 6))
    with pytest.raises(ScheduleError, match="published-shares"):
        Schedule.from_json({**next_.to_json(), "tokens": 2881, "stages": [{"after_layer": 2, "keep": 331}]})


# --- requests that differ in their number of tokens ---------------------------------------------------------


@given(budget=st.sampled_from([192, 128, 64]), tokens=st.integers(1, 2928))
def test_shares_of_any_number_of_tokens(budget: int, tokens: int) -> None:
    """Within a token of the fraction, unless the stages would not descend or leave too little to each other."""
    shared = schedule.published(2928, 32, budget).shared()
    found = shared.keeps_of(tokens)
    if tokens <= 3:
        assert found == (tokens,) * 3
        return
    assert tokens > found[0] > found[1] > found[2] >= 1
    for number, (stage, keep) in enumerate(zip(shared.stages, found, strict=True)):
        assert stage.share is not None
        exact = stage.share * tokens
        assert abs(keep - exact) <= 0.5 or keep in (3 - number, tokens - number - 1) or exact < 3


@given(less=st.integers(1, 2927), budget=st.sampled_from([192, 128, 64]))
def test_more_tokens_never_lose_a_stage_any(less: int, budget: int) -> None:
    shared = schedule.published(2928, 32, budget).shared()
    assert all(few <= many for few, many in zip(shared.keeps_of(less), shared.keeps_of(less + 1), strict=True))


@given(tokens=st.integers(0, 576))
def test_counts_are_kept_of_any_number_of_tokens(tokens: int) -> None:
    fixed = schedule.solve(576, 32, 192)
    assert fixed.keeps_of(tokens) == tuple(min(keep, tokens) for keep in fixed.keeps)
    assert fixed.keeps_of(576) == fixed.keeps


def test_published_shares_are_the_exact_fractions() -> None:
    stages = schedule.published(2928, 32, 64).shared().stages
    assert [stage.share for stage in stages] == [Fraction(11, 96), Fraction(5, 96), Fraction(17, 576)]
    assert schedule.encoder(2928, 32, 325).shared().stages[0].share == Fraction(325, 2928)


@given(made=solvable())
def test_shared_schedules_survive_json(made: tuple[int, int, tuple[int, ...] | None, int, int]) -> None:
    tokens, layers, chosen, low, _ = made
    shared = schedule.solve(tokens, layers, low, chosen).shared()
    assert Schedule.from_json(shared.to_json()) == shared
    assert shared.keeps_of(tokens) == shared.keeps


SHARED = {
    **GOOD,
    "stages": [{"after_layer": 2, "keep": 300, "share": [25, 48]}, {"after_layer": 6, "keep": 200, "share": [25, 72]}],
}


@pytest.mark.parametrize(
    ("share", "line"),
    [
        ([25], "fraction below 1"),
        ([25, 48, 2], "fraction below 1"),
        ([48, 48], "fraction below 1"),
        ([0, 48], r"share\[0\]"),
        ("25/48", "share"),
        ([24, 48], "make 288, 200 of 576 tokens, not 300, 200"),
    ],
)
def test_shares_that_are_refused(share: object, line: str) -> None:
    assert Schedule.from_json(SHARED).keeps == (300, 200)
    stages = [{**SHARED["stages"][0], "share": share}, SHARED["stages"][1]]
    with pytest.raises(ScheduleError, match=line):
        Schedule.from_json({**SHARED, "stages": stages})


def test_all_stages_have_a_share_or_none() -> None:
    stages = [SHARED["stages"][0], GOOD["stages"][1]]
    with pytest.raises(ScheduleError, match="all or none"):
        Schedule.from_json({**SHARED, "stages": stages})


@given(tokens=st.integers(1, 576))
def test_the_mean_of_fewer_tokens_is_that_of_what_reaches_each_layer(tokens: int) -> None:
    shared = schedule.published(576, 32, 64).shared()
    assert shared.mean_of(tokens) == sum(shared.reaching(layer, tokens) for layer in range(32)) / 32
    assert shared.mean_of(576) == shared.mean_tokens
