"""What reaches a layer, where the decoder is cut, and the slots that each cut needs: against a walk layer by layer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_trt import schedule as schedules
from clasp_trt.build_memory import BASE_BYTES, peak
from clasp_trt.chain import Chain, cuts
from clasp_trt.errors import ScheduleError
from clasp_trt.operators import MAX_TOKENS
from clasp_trt.schedule import Schedule
from tests.mistakes import says

TOKENS = 40


@st.composite
def pruned(draw: st.DrawFn) -> Schedule:
    """Any schedule of 40 tokens over 2 to 12 layers, also one before the decoder and one without stages."""
    layers = draw(st.integers(2, 12))
    if draw(st.booleans()):
        return schedules.encoder(TOKENS, layers, draw(st.integers(1, TOKENS - 1)))
    after = sorted(draw(st.sets(st.integers(0, layers - 2))))
    if not after:
        return schedules.none(TOKENS, layers)
    keeps = draw(st.lists(st.integers(1, TOKENS - 1), min_size=len(after), max_size=len(after), unique=True))
    return schedules.given(TOKENS, layers, sorted(keeps, reverse=True), after)


def walked(schedule: Schedule) -> list[int]:
    """Visual tokens at the input of each layer, one layer after another."""
    left, found = schedule.tokens, []
    for layer in range(schedule.layers):
        for stage in schedule.stages:
            if stage.after_layer == layer - 1:
                left = stage.keep
        found.append(left)
    return found


@given(pruned())
def test_reaching_is_what_a_walk_finds(schedule: Schedule) -> None:
    assert [schedule.reaching(layer) for layer in range(schedule.layers)] == walked(schedule)


@given(pruned())
def test_without_an_image_nothing_reaches_and_a_method_may_keep_all(schedule: Schedule) -> None:
    last = schedule.layers - 1
    assert schedule.reaching(last, tokens=0) == 0
    assert schedule.reaching(last, keep=lambda arriving, requested: arriving) == TOKENS


@given(pruned(), st.booleans(), st.integers(1, 4))
def test_cuts_hold_every_layer_once_and_see_what_reaches_them(schedule: Schedule, apart: bool, most: int) -> None:
    limit = peak(most) if apart else None
    chain = Chain.within(schedule, limit, lambda first, last: last - first + 1, stages_apart=apart)
    assert [layer for cut in chain.cuts for layer in range(cut.first, cut.last + 1)] == list(range(schedule.layers))
    found = walked(schedule)
    for cut in chain.cuts:
        assert {found[layer] for layer in range(cut.first, cut.last + 1)} == {cut.visual}
        assert cut.watched == (cut.last in schedule.prune_layers)
        assert cut.capacity(100, TOKENS) == 100 - (TOKENS - cut.visual)
        assert limit is None or cut.layers <= most


@given(pruned())
def test_each_stage_takes_what_the_one_before_left(schedule: Schedule) -> None:
    prunes = Chain.of(schedule).prunes
    assert [stage.arriving for stage in prunes] == [TOKENS, *schedule.keeps][: len(prunes)]
    assert [stage.keep for stage in prunes] == [*schedule.keeps]
    assert [stage.last for stage in prunes] == [False] * (len(prunes) - 1) + [True] * bool(prunes)


def test_a_cut_that_fits_is_not_cut() -> None:
    schedule = schedules.none(TOKENS, 6)
    assert Chain.within(schedule, BASE_BYTES + 1000, lambda first, last: 1).runs == ((0, 5),)


@pytest.mark.parametrize(
    ("tokens", "context", "said"),
    [
        (MAX_TOKENS + 1, 10**6, str(MAX_TOKENS)),
        (TOKENS, 101, "101"),
        (TOKENS, TOKENS + cuts.MIN_TEXT - 1, "--max-context"),
    ],
)
def test_what_no_chain_can_follow(tokens: int, context: int, said: str) -> None:
    most = 10**6 if tokens > TOKENS else 100
    with pytest.raises(ScheduleError, match=said):
        cuts.check(schedules.encoder(tokens, 4, 8), context, most)


def test_the_least_and_the_greatest_context_are_legal() -> None:
    schedule = schedules.encoder(TOKENS, 4, 8)
    cuts.check(schedule, TOKENS + cuts.MIN_TEXT, 100)
    cuts.check(schedule, 100, 100)


def test_thousands_of_stages_are_walked_once() -> None:
    """As a stranger's manifest may have them: looking at every stage for every cut would take minutes."""
    count = 16_000
    schedule = schedules.given(MAX_TOKENS, count + 1, range(count, 0, -1), range(count))
    chain = Chain.of(schedule)
    assert [cut.visual for cut in chain.cuts] == [MAX_TOKENS, *schedule.keeps]
    assert all(cut.watched for cut in chain.cuts[:-1])


def test_a_checkpoint_with_too_few_positions_is_told_apart() -> None:
    with pytest.raises(ScheduleError) as error:
        cuts.check(schedules.none(4096, 4), 4000, 4096)
    says(error, "--max-context 4000", 4096, 4096 + cuts.MIN_TEXT, "--max-visual-tokens")
