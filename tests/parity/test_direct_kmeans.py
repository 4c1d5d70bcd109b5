"""The direct reference against selections worked out by hand, and properties that hold for any input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from tests.parity.direct_kmeans import direct_kmeans, direct_select, top_saliency, unit_rows


def _at(*degrees: float) -> NDArray[np.float64]:
    """Plane vectors of growing length at these angles: length must not matter."""
    angles = np.deg2rad(np.array(degrees))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.arange(1, len(degrees) + 1)[:, None]


SIX = _at(0, 10, 80, 85, 170, 176)
# Token 0 is the pivot. rho of the others is the cosine of their angle, so the seeds are tokens 5 (176) and 4
# (170). First iteration: {5} and {1, 2, 3, 4}, whose mean points to 83.6 degrees. Second: token 4 moves to
# token 5; means 173 and 60.0 (of 10, 80, 85). Nothing moves any more.


def test_one_iteration() -> None:
    kept, is_pivot = direct_select([9, 1, 1, 1, 1, 1], SIX, k1=1, keep=3, iterations=1)
    assert kept.tolist() == [0, 3, 5]  # 85 is the nearest to 83.6
    assert is_pivot.tolist() == [True, False, False]


def test_converged() -> None:
    kept, _ = direct_select([9, 1, 1, 1, 1, 1], SIX, k1=1, keep=3)
    assert kept.tolist() == [0, 2, 4]  # 80 is the nearest to 60; tokens 4 and 5 are a pair, and tie


def test_members_of_a_pair_tie_and_the_lower_index_wins() -> None:
    for swap in (False, True):
        angles = (0, 121, 93) if swap else (0, 93, 121)
        kept, _ = direct_select([9, 0, 0], _at(*angles), k1=1, keep=2)
        assert kept.tolist() == [0, 1]


def test_equal_saliency_goes_to_the_lowest_index_and_nan_comes_last() -> None:
    phi = [np.nan, 0.5, 0.5, -np.inf, 0.5]
    assert top_saliency(phi, 2).tolist() == [False, True, True, False, False]
    assert top_saliency(phi, 4).tolist() == [
        True,
        True,
        True,
        False,
        True,
    ]  # NaN equals -inf, and comes first
    close = np.float32(0.5) + np.finfo(np.float32).eps
    assert top_saliency([0.5, close], 1).tolist() == [False, True], "saliency is compared exactly"


def test_no_pivots_means_seeds_by_index() -> None:
    x = _at(0, 90, 5, 95)
    kept, is_pivot = direct_select([0, 0, 0, 0], x, k1=0, keep=2)
    assert kept.tolist() == [0, 1]  # clusters {0, 2} and {1, 3}, each a pair
    assert not is_pivot.any()


def test_only_pivots() -> None:
    kept, is_pivot = direct_select([1, 3, 2, 4], _at(0, 1, 2, 3), k1=2, keep=2)
    assert kept.tolist() == [1, 3]
    assert is_pivot.all()


def test_keeping_everything() -> None:
    kept, is_pivot = direct_select([1, 3, 2], _at(0, 1, 2), k1=1, keep=5)
    assert kept.tolist() == [0, 1, 2]
    assert is_pivot.tolist() == [False, True, False]


@pytest.mark.parametrize("bad", [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_invalid_tokens_are_the_last_seeds_and_resemble_nothing(bad: list[float]) -> None:
    x = np.vstack([_at(0, 40, 50), [bad]])
    assert direct_select([9, 0, 0, 0], x, k1=1, keep=3)[0].tolist() == [0, 1, 2]
    # Two invalid tokens, and one must be a seed: both join cluster 0 (all their similarities are 0, the
    # lowest id wins), the invalid seed's own cluster is empty, and its place is filled by seed order.
    x = np.vstack([_at(0, 40), [bad, bad]])
    assert direct_select([9, 0, 0, 0], x, k1=1, keep=3)[0].tolist() == [0, 1, 2]


def test_identical_tokens_leave_clusters_empty_and_seeds_fill_the_places() -> None:
    # All similarities tie: everything joins cluster 0, whose medoid is token 1; then seeds 2 and 3 fill.
    kept, is_pivot = direct_select([9, 0, 0, 0, 0, 0], np.ones((6, 3)), k1=1, keep=4)
    assert kept.tolist() == [0, 1, 2, 3]
    assert is_pivot.tolist() == [True, False, False, False]


def test_empty_cluster_keeps_its_center() -> None:
    # Seeds 1 and 2 are equal, so the first iteration puts everything (token 3 is at right angles to both)
    # into cluster 0, whose mean turns to 27 degrees. Cluster 1 is empty, stays at 0 degrees, and wins tokens
    # 1 and 2 back. Had it been given up, the seeds 1 and 2 would be kept.
    x = _at(180, 0, 0, 90)
    assert direct_select([9, 0, 0, 0], x, k1=1, keep=3)[0].tolist() == [0, 1, 3]


def test_opposite_members_cancel_to_a_center_that_resembles_nothing() -> None:
    # One cluster of two opposite tokens: every cosine is 0, so the lowest index is the medoid.
    assert direct_select([9, 0, 0], _at(90, 0, 180), k1=1, keep=2)[0].tolist() == [0, 1]


def test_unit_rows_survive_extreme_lengths() -> None:
    u = unit_rows(np.array([[3e-200, 4e-200], [3e200, 4e200], [0, 0]]))
    np.testing.assert_allclose(u, np.array([[0.6, 0.8], [0.6, 0.8], [0, 0]]))


@pytest.mark.parametrize(("k1", "keep"), [(-1, 2), (3, 2), (0, 0)])
def test_numbers_that_make_no_sense(k1: int, keep: int) -> None:
    with pytest.raises(ValueError, match="can't"):
        direct_select([1.0, 2.0, 3.0], _at(0, 1, 2), k1, keep)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_always_exactly_keep_distinct_ascending(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 14))
    elements = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0, np.nan, np.inf])
    x = data.draw(hnp.arrays(np.float64, (count, 3), elements=elements))
    phi = data.draw(hnp.arrays(np.float64, count, elements=elements))
    keep = data.draw(st.integers(1, count))
    k1 = data.draw(st.integers(0, keep))
    kept, is_pivot = direct_select(phi, x, k1, keep)
    assert kept.shape == is_pivot.shape == (keep,)
    assert (np.diff(kept) > 0).all()
    assert is_pivot.sum() == k1
    assert set(np.flatnonzero(top_saliency(phi, k1))) <= set(kept.tolist())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_scale_and_rotation_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((24, 8))
    pivots = np.zeros(24, dtype=bool)
    pivots[rng.choice(24, 4, replace=False)] = True
    rotation, _ = np.linalg.qr(rng.standard_normal((8, 8)))
    scales = np.exp(rng.standard_normal((24, 1)))
    turned = x * scales @ rotation
    np.testing.assert_array_equal(direct_kmeans(x, pivots, 12)[0], direct_kmeans(turned, pivots, 12)[0])
