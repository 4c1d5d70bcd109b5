"""What is tried for a category: prototypes as scores of the policy, without repetition, the closest first."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_trt import schedule as schedules
from clasp_trt.errors import PolicyError
from clasp_trt.policy import Category, Policy, prior
from clasp_trt.tools.calibrate.candidates import RATIOS, candidates, changed, describe, kept, mixtures, scores

LAYERS, CENTRE, COUNTING = (3, 12, 23), 23, 5
KEEPS = (300, 200, 110)


@pytest.fixture
def policy() -> Policy:
    return prior(LAYERS, CENTRE)


def test_prototypes() -> None:
    found = {tuple(round(weight, 4) for weight in weights) for weights in mixtures(LAYERS, CENTRE)}
    assert found == {
        (1, 0, 0), (0, 1, 0), (0, 0, 1),
        (0.1, 0, 0.9), (0.25, 0, 0.75), (0.5, 0, 0.5),
        (0, 0.1, 0.9), (0, 0.25, 0.75), (0, 0.5, 0.5),
        (0.3333, 0.3333, 0.3333),
    }  # fmt: skip


@given(
    st.lists(st.floats(0.01, 1), min_size=1, max_size=6),
    st.sampled_from([0.05, 1.0, 10.0, 250.0]),
)
def test_scores_give_the_weights_back(raw: list[float], tau: float) -> None:
    weights = np.array(raw) / sum(raw)
    row = scores(weights.tolist(), tau)
    assert max(row) == 1
    powers = np.exp(tau * np.array(row))
    np.testing.assert_allclose(powers / powers.sum(), weights, rtol=1e-6)


def test_one_layer_alone_is_the_row_of_a_prior(policy: Policy) -> None:
    row = Category("x", scores((0, 0, 1), policy.tau), Decimal(0))
    assert changed(policy, 0, row).alpha(0).tolist() == policy.alpha(0).tolist()


def test_grid_is_exact() -> None:
    assert [str(ratio) for ratio in RATIOS] == ["0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "1"]


def test_candidates_change_one_row(policy: Policy) -> None:
    found = candidates(policy, COUNTING, centre=CENTRE, keeps=KEEPS)
    assert len(found) == 10 * 11
    assert found[0] == policy
    for candidate in found:
        restored = changed(candidate, COUNTING, policy.categories[COUNTING])
        assert restored == policy
        assert candidate.categories[COUNTING].name == "counting"


def test_closest_come_first(policy: Policy) -> None:
    """The weights move as little as possible; with equal weights the ratio does."""
    found = candidates(policy, COUNTING, centre=CENTRE, keeps=KEEPS)
    moved = [np.abs(candidate.alpha(COUNTING) - policy.alpha(COUNTING)).sum().round(4) for candidate in found]
    assert moved == sorted(moved)
    ratios = [str(candidate.categories[COUNTING].ratio) for candidate in found[:11]]
    assert ratios == ["0.6", "0.5", "0.7", "0.4", "0.8", "0.3", "0.9", "0.2", "1", "0.1", "0"]


def test_what_computes_the_same_is_tried_once(policy: Policy) -> None:
    found = candidates(policy, COUNTING, centre=CENTRE, keeps=(3, 2, 1))
    counts = {candidate.pivot_counts(COUNTING, (3, 2, 1)) for candidate in found}
    assert len(found) == 10 * len(counts) < 10 * 11
    # 0.5 and 0.6 both give 1, 1 and 0 pivots: the row's own is the one that stays
    assert "0.5" not in {str(candidate.categories[COUNTING].ratio) for candidate in found}


def test_ratios_that_differ_for_other_pictures_are_both_tried(policy: Policy) -> None:
    """Of 6, 4 and 2 tokens 0.5 and 0.6 choose as many pivots; of the 5 that are all of a smaller picture they do
    not."""
    schedule = schedules.given(576, 32, (6, 4, 2))
    for varies, tried in ((False, {"0.6"}), (True, {"0.5", "0.6"})):
        found = candidates(policy, COUNTING, centre=CENTRE, keeps=kept(schedule, varies=varies))
        assert {str(candidate.categories[COUNTING].ratio) for candidate in found} & {"0.5", "0.6"} == tried
    assert not kept(schedules.none(576, 32), varies=True)


def test_ratio_does_not_matter_without_stages(policy: Policy) -> None:
    found = candidates(policy, COUNTING, centre=CENTRE, keeps=())
    assert {candidate.categories[COUNTING].ratio for candidate in found} == {Decimal("0.6")}
    assert len(found) == 10


def test_row_of_the_users_own_is_tried_with_every_ratio(policy: Policy) -> None:
    own = Category("counting", (0.3, 0.2, 1.1), Decimal("0.33"))
    found = candidates(changed(policy, COUNTING, own), COUNTING, centre=CENTRE, keeps=KEEPS)
    assert [c.categories[COUNTING].ratio for c in found].count(Decimal("0.33")) == 11
    assert [c.categories[COUNTING].scores for c in found].count(own.scores) == 12


def test_one_layer_leaves_the_ratios() -> None:
    found = candidates(prior((4,), 4), COUNTING, centre=4, keeps=KEEPS)
    assert len(found) == 11


def test_ratio_that_no_policy_has(policy: Policy) -> None:
    with pytest.raises(PolicyError, match="ratio"):
        candidates(policy, COUNTING, centre=CENTRE, keeps=KEEPS, ratios=(Decimal("1.1"),))


def test_row_in_words(policy: Policy) -> None:
    row = replace(policy.categories[COUNTING], scores=scores((0.25, 0, 0.75), policy.tau))
    assert describe(changed(policy, COUNTING, row), COUNTING) == "layers 0.25 x 3 + 0.75 x 23, ratio 0.6"
