"""The numpy references of the two operators against their specification, and against a second implementation.

The second one (:mod:`tests.parity.direct_kmeans`) works on vectors in float64, the references on a Gram matrix in
steps of 2**-20. They must agree wherever no comparison is a near-tie: see :class:`_Gaps`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import ArrayLike, NDArray

from clasp_trt.ops import GRAM_STEPS, pivot_select, select, spherical_kmeans, token_gram
from tests.parity import direct_kmeans as direct

POISON = [-1.0, -0.5, -0.0, 0.0, 0.25, 1.0, np.nan, np.inf, -np.inf]


def _plane(*degrees: float) -> NDArray[np.float64]:
    angles = np.deg2rad(np.array(degrees))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _kept(x: ArrayLike, pivots: list[int], keep: int, iterations: int = 5) -> list[int]:
    """The selection of one image whose pivots are given."""
    rows = np.asarray(x, dtype=np.float64)
    marks = np.isin(np.arange(len(rows)), pivots)[None]
    kept: list[int] = spherical_kmeans(token_gram(rows[None]), marks, keep, iterations)[0][0].tolist()
    return kept


@st.composite
def requests(draw: st.DrawFn) -> tuple[NDArray[np.float64], NDArray[np.float32], list[int], int]:
    """Tokens full of duplicates, zero rows and poison, saliency, pivot counts, and a keep that may exceed N."""
    batch, count = draw(st.integers(1, 3)), draw(st.integers(1, 14))
    x = draw(hnp.arrays(np.float64, (batch, count, 3), elements=st.sampled_from(POISON)))
    phi = draw(hnp.arrays(np.float32, (batch, count), elements=st.sampled_from(POISON)))
    keep = draw(st.integers(1, count + 2))
    counts = draw(st.lists(st.integers(0, keep), min_size=batch, max_size=batch))
    return x, phi, counts, keep


@settings(max_examples=150, deadline=None)
@given(requests())
def test_always_exactly_keep_distinct_ascending(
    request: tuple[NDArray[np.float64], NDArray[np.float32], list[int], int],
) -> None:
    x, phi, counts, keep = request
    kept, is_pivot = select(phi, x, counts, keep)
    assert kept.dtype == np.int64
    assert is_pivot.dtype == np.bool_
    assert kept.shape == is_pivot.shape == (len(x), min(keep, x.shape[1]))
    assert (np.diff(kept, axis=1) > 0).all()
    assert kept.min() >= 0
    assert kept.max() < x.shape[1]
    assert is_pivot.sum(axis=1).tolist() == [min(count, x.shape[1]) for count in counts]
    for row in range(len(x)):
        one = select(phi[row : row + 1], x[row : row + 1], counts[row : row + 1], keep)
        assert one[0].tolist() == [kept[row].tolist()], "images of a batch are independent"


# --- pivots -------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(requests())
def test_pivots_are_the_first_of_a_total_order(
    request: tuple[NDArray[np.float64], NDArray[np.float32], list[int], int],
) -> None:
    _, phi, counts, keep = request
    pivots = pivot_select(phi, counts, keep)
    for row, count in zip(range(len(phi)), counts, strict=True):
        keys = [(-np.inf if np.isnan(value) else float(value)) for value in phi[row]]
        expected = sorted(range(len(keys)), key=lambda index: (-keys[index], index))[:count]
        assert np.flatnonzero(pivots[row]).tolist() == sorted(expected)


def test_nan_saliency_is_minus_infinity_and_signed_zeros_are_equal() -> None:
    assert pivot_select([[np.nan, -np.inf, 0.0, -0.0]], [2], 2).tolist() == [[False, False, True, True]]
    assert pivot_select([[-0.0, 0.0]], [1], 1).tolist() == [[True, False]]
    assert pivot_select([[-np.inf, np.nan]], [1], 1).tolist() == [[True, False]]
    assert pivot_select([[np.nan, -np.inf]], [1], 1).tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("counts", "keep", "message"),
    [
        ([-1], 2, "pivot_count"),
        ([3], 2, "pivot_count"),
        ([10], 9, "pivot_count"),
        ([0], 0, "keep"),
        ([1, 1], 2, "shape"),
    ],
)
def test_pivot_bounds_are_refused(counts: list[int], keep: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pivot_select([[1.0, 2.0, 3.0]], counts, keep)


def test_more_pivots_than_tokens_are_all_of_them() -> None:
    """``R >= N`` keeps everything, so ``K1`` of ``R`` may exceed ``N`` as well."""
    phi, x = [[3.0, np.nan, 1.0, 2.0, 0.0]], np.eye(5)[None]
    assert pivot_select(phi, [9], 10).tolist() == [[True] * 5]
    kept, is_pivot = select(phi, x, [9], 10)
    assert kept.tolist() == [[0, 1, 2, 3, 4]]
    assert is_pivot.all()


# --- completion ---------------------------------------------------------------------------------------------


def test_only_pivots_and_no_pivots() -> None:
    x = _plane(0, 90, 5, 95)
    assert _kept(x, [1, 3], keep=2) == [1, 3]
    assert _kept(x, [], keep=2) == [0, 1], "seeds by index; {0, 2} and {1, 3} are pairs and tie"


@pytest.mark.parametrize("keep", [4, 5, 100])
def test_keeping_everything(keep: int) -> None:
    x = np.vstack([_plane(0, 10, 20), [[np.nan, 1.0]]])
    kept, is_pivot = select([[4, 3, np.nan, 1]], x[None], [2], keep)
    assert kept.tolist() == [[0, 1, 2, 3]]
    assert is_pivot.tolist() == [[True, True, False, False]]


def test_seeds_are_the_least_redundant_and_number_the_clusters() -> None:
    # Redundancy with pivot 0 falls with the angle: seeds 5 (176) and 4 (170). After one iteration the clusters are {5}
    # and {1, 2, 3, 4}, whose mean points to 83.6 degrees; after the second 4 has joined 5, and 60 is nearest to 80.
    x = _plane(0, 10, 80, 85, 170, 176)
    assert _kept(x, [0], keep=3, iterations=1) == [0, 3, 5]
    assert _kept(x, [0], keep=3) == [0, 2, 4]


def test_the_members_of_a_pair_tie_and_the_lower_index_wins() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        x = rng.standard_normal((3, 7))
        assert _kept(x, [0], keep=2) == [0, 1]


def test_opposite_members_cancel_to_a_center_that_resembles_nothing() -> None:
    assert _kept(_plane(90, 0, 180), [0], keep=2) == [0, 1]
    # rounding to the grid can make a squared length negative; it then counts as zero, and no NaN appears
    gram = (2 * np.eye(3, dtype=np.float32) - 1)[None]
    assert spherical_kmeans(gram, np.zeros((1, 3), dtype=bool), 1)[0].tolist() == [[0]]


def test_an_empty_cluster_keeps_its_center() -> None:
    # Seeds 1 and 2 are equal: the first iteration puts all into cluster 0, whose mean turns to 27 degrees. Cluster 1
    # stays at 0 degrees and wins tokens 1 and 2 back in the second. Given up, it would leave its place to seed 2.
    assert _kept(_plane(180, 0, 0, 90), [0], keep=3, iterations=1) == [0, 1, 2]
    assert _kept(_plane(180, 0, 0, 90), [0], keep=3) == [0, 1, 3]


def test_places_of_empty_clusters_go_to_the_best_seeds_not_yet_chosen() -> None:
    assert _kept(np.ones((6, 3)), [0], keep=4) == [0, 1, 2, 3], "all in cluster 0, medoid 1; then seeds 2 and 3"
    # All in cluster 0 again, but its medoid (the middle one, after one round) is not its seed, so the seed comes back.
    x = _plane(180, 0, 0, 20, 20, 20)
    assert _kept(x, [0], keep=3, iterations=1) == [0, 1, 3]


@pytest.mark.parametrize("bad", [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [1.0, -np.inf]])
def test_invalid_tokens_are_the_last_seeds(bad: list[float]) -> None:
    x = np.vstack([[bad], _plane(0, 40, 50)])
    assert _kept(x, [1], keep=3) == [1, 2, 3], "redundancy 0 would make the invalid token the first seed"
    x = np.vstack([_plane(0, 120), [bad, bad]])
    assert _kept(x, [0], keep=3) == [0, 1, 2], "both join cluster 0; its medoid is token 1; the best seed left is 2"


def test_an_invalid_pivot_makes_nobody_redundant_and_takes_no_place_away() -> None:
    x = np.vstack([np.full(2, np.nan), _plane(0, 1, 90)])
    # redundancy with the pivot is 0 for all, so seeds go by index
    assert _kept(x, [0], keep=3) == [0, 1, 3]


def test_all_invalid() -> None:
    kept, is_pivot = select(np.full((1, 5), np.nan), np.full((1, 5, 2), np.nan), [2], 4)
    assert kept.tolist() == [[0, 1, 2, 3]]
    assert is_pivot.tolist() == [[True, True, False, False]]


def test_bounds_are_refused() -> None:
    gram, pivots = token_gram(np.eye(3)[None]), np.array([[True, True, False]])
    for keep, iterations, message in [(0, 5, "keep"), (2, 0, "iterations"), (1, 5, "2 pivots")]:
        with pytest.raises(ValueError, match=message):
            spherical_kmeans(gram, pivots, keep, iterations)
    with pytest.raises(ValueError, match="shape"):
        spherical_kmeans(gram[:, :2], pivots, 2)


def test_sums_are_exact_at_the_largest_size() -> None:
    """3839 tokens share a cluster: their steps add up to almost 2**32, and to almost 2**44 in its squared length."""
    count = 3840
    gram = np.ones((1, count, count), dtype=np.float32)
    gram[0, 0, 1:] = gram[0, 1:, 0] = -1.0
    lower = 1.0 - 1.0 / GRAM_STEPS
    gram[0, 2, 3:] = gram[0, 3:, 2] = lower  # token 2 resembles the others one step less: token 3 is the medoid ...
    gram[0, 1, 2] = gram[0, 2, 1] = lower
    gram[0, 1, 3:] = gram[0, 3:, 1] = lower
    pivots = np.zeros((1, count), dtype=bool)
    pivots[0, 0] = True
    # ... if 3839 * 2**20 - 2 and 3839 * 2**20 - 3838 are told apart, where float32 has steps of 256
    assert spherical_kmeans(gram, pivots, 2)[0].tolist() == [[0, 3]]


# --- Gram matrix --------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=9),
        elements=st.one_of(st.sampled_from(POISON), st.floats(width=32)),
    )
)
def test_gram_is_symmetric_on_the_grid_and_marks_the_invalid(x: NDArray[np.float32]) -> None:
    gram = token_gram(x)
    valid = np.isfinite(x).all(-1) & (x != 0).any(-1)
    assert gram.dtype == np.float32
    assert gram.shape == (*x.shape[:2], x.shape[1])
    np.testing.assert_array_equal(gram, gram.transpose(0, 2, 1))
    assert (np.abs(gram) <= 1).all()
    steps = gram.astype(np.float64) * GRAM_STEPS
    np.testing.assert_array_equal(steps, np.rint(steps))
    for row in range(len(x)):
        np.testing.assert_array_equal(np.diagonal(gram[row]), valid[row])
        assert not gram[row][~valid[row]].any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("exponent", [-100, -20, 0, 14, 100])
def test_gram_ignores_magnitude(dtype: type[np.floating], exponent: int) -> None:
    rng = np.random.default_rng(1)
    whole = rng.integers(-8, 9, (1, 12, 6))  # exact in every type, also when scaled by a power of two
    if not np.finfo(dtype).minexp < exponent - 1 < np.finfo(dtype).maxexp - 5:
        exponent = int(np.finfo(dtype).minexp)  # and, of the small ones, subnormal
    x = np.ldexp(whole.astype(np.float64), exponent).astype(dtype)
    np.testing.assert_array_equal(token_gram(x), token_gram(whole.astype(np.float64)))


def test_gram_of_extreme_rows() -> None:
    tiny, huge = np.float32(1e-30), np.float32(1e30)
    rows = np.array([[tiny, 0], [huge, 0], [0, huge], [tiny, tiny], [huge, huge]], dtype=np.float32)
    subnormal = np.array([[np.finfo(np.float32).smallest_subnormal, 0]], dtype=np.float32)
    gram = token_gram(np.vstack([rows, subnormal])[None])[0]
    half = np.rint(np.sqrt(0.5) * GRAM_STEPS) / GRAM_STEPS
    expected = [1, 1, 0, half, half, 1]
    np.testing.assert_array_equal(gram[0], np.array(expected, dtype=np.float32))
    np.testing.assert_array_equal(gram[5], np.array(expected, dtype=np.float32))


def test_gram_is_within_half_a_step_of_the_cosine() -> None:
    x = np.random.default_rng(2).standard_normal((2, 40, 64))
    unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
    cosine = unit @ unit.transpose(0, 2, 1)
    # half a step from rounding to the grid, and half an ulp of float32, 2**-25, before it
    assert np.abs(token_gram(x) - cosine).max() <= 0.5 / GRAM_STEPS + 2.0**-25


# --- against the direct implementation ----------------------------------------------------------------------


@dataclass
class _Gaps:
    """The narrowest comparison of one direct selection.

    ``smallest`` is the least difference between two similarities that were compared and differ, where differences up
    to ``direct.TIE`` are ties that hold by definition (equal tokens, pairs). ``shortest`` is the least length of a
    center's sum over its number of members, sums of nothing apart. With entries of the Gram matrix off by half a step
    ``h`` at most, a cosine to a center is off by ``h / shortest`` for the token's sum and ``h / shortest**2 / 2`` for
    the center's length, and the difference of two by twice that: beyond :meth:`error` both must decide alike.
    """

    smallest: float = np.inf
    shortest: float = 1.0

    def error(self) -> float:
        return 2 * 1.5 * (0.5 / GRAM_STEPS) / self.shortest**2 + 1e-6  # and float32 rounding of the quotients

    def compare(self, difference: NDArray[np.float64]) -> None:
        apart = difference[difference > direct.TIE]
        self.smallest = min(self.smallest, float(apart.min(initial=np.inf)))


def _measured(
    monkeypatch: pytest.MonkeyPatch, x: NDArray[np.float64], pivots: NDArray[np.bool_], keep: int
) -> tuple[list[int], _Gaps]:
    """The direct selection, and how far from a near-tie it stayed."""
    gaps = _Gaps()
    first_largest, seed_order, direction = direct._first_largest, direct._seed_order, direct._direction

    def watched_largest(values: NDArray[np.float64]) -> int:
        gaps.compare(values.max() - values)
        return first_largest(values)

    def watched_order(tokens: NDArray[np.intp], rho: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.intp]:
        gaps.compare(np.diff(np.sort(rho[valid])))
        return seed_order(tokens, rho, valid)

    def watched_direction(total: NDArray[np.float64], members: int) -> NDArray[np.float64]:
        length = float(np.linalg.norm(total)) / members
        gaps.shortest = min(gaps.shortest, length) if length > direct.TIE else gaps.shortest
        return direction(total, members)

    with monkeypatch.context() as patch:
        replacements: dict[str, Callable[..., object]] = {
            "_first_largest": watched_largest,
            "_seed_order": watched_order,
            "_direction": watched_direction,
        }
        for name, function in replacements.items():
            patch.setattr(direct, name, function)
        kept, _ = direct.direct_kmeans(x, pivots, keep)
    return kept.tolist(), gaps


@st.composite
def generic_tokens(draw: st.DrawFn) -> NDArray[np.float64]:
    """Gaussian tokens, some repeated, some invalid, one subset in a tight bunch as on a smooth image."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(3, 28))
    x = rng.standard_normal((count, 8))
    if draw(st.booleans()):
        bunch = rng.random(count) < 0.5
        x[bunch] = rng.standard_normal(8) + 0.3 * x[bunch]
    for _ in range(draw(st.integers(0, 3))):
        x[rng.integers(count)] = x[rng.integers(count)]
    for poison in draw(st.lists(st.sampled_from([0.0, np.nan, np.inf]), max_size=2)):
        x[rng.integers(count)] = poison
    return x


def test_equal_to_the_direct_implementation(monkeypatch: pytest.MonkeyPatch) -> None:
    decided = 0

    @settings(max_examples=150, deadline=None)
    @given(generic_tokens(), st.data())
    def check(x: NDArray[np.float64], data: st.DataObject) -> None:
        nonlocal decided
        keep = data.draw(st.integers(1, len(x)))
        count = data.draw(st.integers(0, keep))
        phi = np.random.default_rng(data.draw(st.integers(0, 99))).random((1, len(x))).round(1)
        pivots = pivot_select(phi, [count], keep)
        expected, gaps = _measured(monkeypatch, x, pivots[0], keep)
        assume(gaps.smallest > gaps.error())
        decided += 1
        kept, is_pivot = spherical_kmeans(token_gram(x[None]), pivots, keep)
        assert kept[0].tolist() == expected
        assert is_pivot[0].tolist() == pivots[0][expected].tolist()

    check()
    assert decided >= 100, "too many examples were near-ties to say anything"
