"""The pruning methods: what all of them promise, and each against a definition written another way."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clasp_trt.errors import MethodError
from clasp_trt.methods import METHODS, Method, View, get, pyramiddrop
from clasp_trt.methods.dart import PIVOTS
from clasp_trt.methods.divprune import diverse
from clasp_trt.methods.sparsevlm import raters
from clasp_trt.methods.vispruner import distinct
from clasp_trt.ops import select, token_gram
from tests.prompts import boxes

PRUNING = [method for method in METHODS.values() if method.prunes]
READING = [METHODS[name] for name in ("divprune", "dart", "vispruner", "cdpruner", "sparsevlm")]
"""Methods that look at similarities, which say what is valid."""
BY_VALUE = [METHODS[name] for name in ("fastv", "cdpruner", "pyramiddrop", "divprune", "dart", "sparsevlm", "clasp")]
"""Methods to which the order of the tokens is nothing but a tie-breaker."""


def _view(
    seed: int, *, side: int = 4, tokens: int | None = None, keep: int = 5, invalid: int = 0, equal: bool = False
) -> View:
    """A stage of ``tokens`` random tokens of a square grid; the first ``invalid`` of a shuffle are zero rows."""
    rng = np.random.default_rng(seed)
    places = np.sort(rng.permutation(side * side)[: tokens or side * side])
    rows = rng.standard_normal((len(places), 6)).astype(np.float32)
    rows[rng.permutation(len(places))[:invalid]] = 0
    if equal:
        rows[:] = 1
    salient, seen = (np.ones(len(places)) if equal else rng.random(len(places)) for _ in range(2))
    return View(
        saliency=salient.astype(np.float32),
        gram=token_gram(rows[None])[0],
        cls_saliency=seen.astype(np.float32),
        boxes=boxes(side)[places],
        extent=(0, 0, side, side),
        keep=keep,
        pivot_count=keep // 2,
        stage=0,
    )


@st.composite
def views(draw: st.DrawFn) -> View:
    """Any stage, with invalid tokens, ties, and saliencies that are no numbers."""
    side = draw(st.integers(1, 6))
    tokens = draw(st.integers(1, side * side))
    view = _view(
        draw(st.integers(0, 10**6)),
        side=side,
        tokens=tokens,
        keep=draw(st.integers(1, side * side + 2)),
        invalid=draw(st.integers(0, tokens)),
        equal=draw(st.booleans()),
    )
    odd = st.sampled_from([0.0, 0.25, 1.0, np.nan, np.inf, -np.inf])
    saliency, seen = (draw(st.lists(odd, min_size=tokens, max_size=tokens)) for _ in range(2))
    return replace(view, saliency=np.array(saliency, np.float32), cls_saliency=np.array(seen, np.float32))


# --- all methods --------------------------------------------------------------------------------------------


def test_the_methods_by_name() -> None:
    others = "fastv divprune dart visionzip fastervlm vispruner cdpruner pyramiddrop sparsevlm"
    assert list(METHODS) == ["none", "random", "uniform", *others.split(), "clasp-fixed", "clasp"]
    assert all(get(name) is METHODS[name] and METHODS[name].name == name for name in METHODS)
    assert [name for name in METHODS if METHODS[name].fused] == ["clasp"]


@pytest.mark.parametrize(("name", "hint"), [("FastV", "did you mean 'fastv'"), ("clap", "'clasp'"), ("x", "dart, ")])
def test_an_unknown_method_is_one_line(name: str, hint: str) -> None:
    with pytest.raises(MethodError, match=f"'{name}'") as caught:
        get(name)
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@given(view=views())
@settings(max_examples=60, deadline=None)
def test_exactly_so_many_distinct_tokens_in_order(method: Method, view: View) -> None:
    kept, is_pivot = method.select(view)
    assert kept.dtype == np.int64
    assert is_pivot.dtype == np.bool_
    assert kept.shape == is_pivot.shape == (method.count(view.tokens, view.keep),)
    assert (np.diff(kept) > 0).all()
    assert kept[0] >= 0
    assert kept[-1] < view.tokens


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_selection_depends_on_its_view_alone(method: Method) -> None:
    view = _view(3)
    first, first_pivots = method.select(view)
    np.random.seed(1)  # global state, which nobody may read
    copies = {name: getattr(view, name).copy() for name in ("saliency", "gram", "cls_saliency", "boxes")}
    again, again_pivots = method.select(replace(view, **copies))
    np.testing.assert_array_equal(again, first)
    np.testing.assert_array_equal(again_pivots, first_pivots)
    for name, copy in copies.items():
        np.testing.assert_array_equal(getattr(view, name), copy, err_msg=f"{name} was written to")


@pytest.mark.parametrize("method", READING, ids=lambda method: method.name)
def test_invalid_tokens_are_the_last_choice(method: Method) -> None:
    for seed in range(8):
        view = _view(seed, invalid=6, keep=9)
        kept, _ = method.select(view)
        assert view.valid[kept].all(), "ten valid tokens are enough for nine"
        kept, _ = method.select(replace(view, keep=12))
        assert set(np.flatnonzero(view.valid)) <= set(kept)


@pytest.mark.parametrize("method", BY_VALUE, ids=lambda method: method.name)
def test_the_order_of_distinct_tokens_does_not_matter(method: Method) -> None:
    for seed in range(8):
        view, order = _view(seed), np.random.default_rng(seed + 100).permutation(16)
        shuffled = replace(view, saliency=view.saliency[order], gram=view.gram[np.ix_(order, order)])
        expected, _ = method.select(view)
        found, _ = method.select(shuffled)
        np.testing.assert_array_equal(np.sort(order[found]), expected)


@pytest.mark.parametrize("name", ["fastv", "divprune", "dart", "cdpruner", "pyramiddrop", "sparsevlm"])
def test_ties_go_to_the_lowest_index(name: str) -> None:
    kept, _ = METHODS[name].select(_view(0, equal=True, keep=7))
    np.testing.assert_array_equal(kept, np.arange(7))


@pytest.mark.parametrize(("name", "signal"), [("fastv", "saliency"), ("sparsevlm", "saliency"), ("dart", "saliency")])
def test_not_a_number_is_least_salient(name: str, signal: str) -> None:
    view = _view(5, keep=4)
    saliency = view.saliency.copy()
    saliency[int(np.argmax(saliency))] = np.nan
    kept, is_pivot = METHODS[name].select(replace(view, saliency=saliency))
    assert int(np.argmax(view.saliency)) not in kept[is_pivot]


@pytest.mark.parametrize("method", PRUNING, ids=lambda method: method.name)
def test_large_images_are_feasible(method: Method) -> None:
    """The 2880 tokens of a tiled image: a loop over pairs in Python would not end."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((2880, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    signal = rng.random(2880).astype(np.float32)
    gram = np.round(rows @ rows.T * 1024) / np.float32(1024)
    tall = boxes(120).reshape(120, 120, 4)[:, :24].reshape(-1, 4)
    view = View(signal, gram.astype(np.float32), signal, tall, (0, 0, 24, 120), 64, 32, 0)
    assert len(method.select(view)[0]) == 64


# --- each method --------------------------------------------------------------------------------------------


def test_none_keeps_everything() -> None:
    kept, is_pivot = METHODS["none"].select(_view(0, keep=2))
    np.testing.assert_array_equal(kept, np.arange(16))
    assert not is_pivot.any()
    assert METHODS["none"].count(16, 2) == 16


def test_random_differs_by_image_and_stage_and_misses_no_place() -> None:
    select_random = METHODS["random"].select
    view = _view(0)
    draws = [select_random(_view(seed))[0] for seed in range(40)]
    assert len({tuple(draw) for draw in draws}) > 30
    assert set(np.concatenate(draws)) == set(range(16))
    assert tuple(select_random(replace(view, stage=1))[0]) != tuple(select_random(view)[0])
    other_question = replace(view, saliency=view.saliency[::-1].copy(), pivot_count=0)
    np.testing.assert_array_equal(select_random(other_question)[0], select_random(view)[0])


def test_random_is_the_same_on_every_machine() -> None:
    """A literal: numpy promises the stream of raw bits for ever."""
    view = replace(_view(0), cls_saliency=np.arange(16, dtype=np.float32))
    np.testing.assert_array_equal(METHODS["random"].select(view)[0], [2, 4, 5, 12, 15])


@pytest.mark.parametrize("side", [2, 4, 6, 8])
def test_uniform_halves_an_even_grid(side: int) -> None:
    """A quarter of the tokens: one of each square of four."""
    view = _view(0, side=side, keep=side * side // 4)
    y, x = np.divmod(METHODS["uniform"].select(view)[0], side)
    assert len({(a // 2, b // 2) for a, b in zip(y, x, strict=True)}) == side * side // 4


@pytest.mark.parametrize("keep", [1, 5, 9, 36, 58, 100, 192, 300, 575])
def test_uniform_leaves_no_hole(keep: int) -> None:
    """Every patch has a kept one about as near as half the diagonal of its share of the grid."""
    kept, _ = METHODS["uniform"].select(_uniform_view(keep, np.arange(576)))
    places = np.c_[np.divmod(np.arange(576), 24)]
    apart = np.linalg.norm(places[:, None] - places[kept], axis=-1)
    assert apart.min(axis=1).max() <= np.sqrt(576 / keep / 2) + 1.5


def test_uniform_chooses_among_what_is_left() -> None:
    left = METHODS["uniform"].select(_uniform_view(300, np.arange(576)))[0]
    kept, _ = METHODS["uniform"].select(_uniform_view(4, left))
    y, x = np.divmod(left[kept], 24)
    assert np.abs(np.c_[y, x] - [[6, 6], [6, 18], [18, 6], [18, 18]]).max() <= 1.5


def test_uniform_knows_no_scale_and_places_alone() -> None:
    """Boxes four times as large, moved, give the same tokens; one without a place is taken when no other is left."""
    view = _uniform_view(58, np.arange(576))
    moved = replace(view, boxes=view.boxes * 4 + 100, extent=(100, 100, 196, 196))
    expected = METHODS["uniform"].select(view)[0]
    np.testing.assert_array_equal(METHODS["uniform"].select(moved)[0], expected)
    missing = view.boxes.copy()
    missing[expected] = np.nan
    assert not set(METHODS["uniform"].select(replace(view, boxes=missing))[0]) & set(expected)
    assert len(METHODS["uniform"].select(replace(view, boxes=missing, keep=576))[0]) == 576
    nowhere = replace(view, boxes=np.full_like(view.boxes, np.nan), extent=(0, 0, 0, 0), keep=5)
    np.testing.assert_array_equal(METHODS["uniform"].select(nowhere)[0], np.arange(5))


def test_uniform_follows_the_shape_of_the_image() -> None:
    """Sixteen of a strip of 64 by 4: one line's worth in each quarter, and so on along it."""
    strip = boxes(64).reshape(64, 64, 4)[:4].reshape(-1, 4)
    blank = np.zeros(256, np.float32)
    view = View(blank, np.zeros((256, 1), np.float32), blank, strip, (0, 0, 64, 4), 16, 0, 0)
    kept, _ = METHODS["uniform"].select(view)
    assert {int(place) // 4 for place in kept % 64} == set(range(16))


def _uniform_view(keep: int, places: NDArray[np.int64]) -> View:
    tokens = len(places)
    blank = np.zeros(tokens, np.float32)
    return View(blank, np.zeros((tokens, 1), np.float32), blank, boxes(24)[places], (0, 0, 24, 24), keep, 0, 0)


@pytest.mark.parametrize("name", ["fastv", "pyramiddrop", "sparsevlm", "fastervlm"])
def test_top_attention(name: str) -> None:
    view = _view(1)
    kept, is_pivot = METHODS[name].select(view)
    attention = view.cls_saliency if name == "fastervlm" else view.saliency
    assert min(attention[kept]) > max(np.delete(attention, kept))
    assert is_pivot.all()


def test_divprune_is_the_greedy_max_min_subset() -> None:
    """Against the definition on distances, one pair at a time."""
    for seed in range(30):
        gram = _view(seed, keep=6).gram
        distance = [[1 - float(gram[i, j]) for j in range(16)] for i in range(16)]
        chosen = [max(range(16), key=lambda i: (min(distance[i][j] for j in range(16) if j != i), -i))]
        while len(chosen) < 6:
            rest = [i for i in range(16) if i not in chosen]
            chosen.append(max(rest, key=lambda i: (min(distance[i][j] for j in chosen), -i)))
        np.testing.assert_array_equal(diverse(gram, 6), chosen)
        np.testing.assert_array_equal(METHODS["divprune"].select(_view(seed, keep=6))[0], sorted(chosen))


def test_divprune_is_at_least_half_as_diverse_as_any_subset() -> None:
    """What farthest-point selection guarantees in a metric: the angle between tokens is one, and orders them alike."""
    for seed in range(10):
        gram = _view(seed, side=3).gram.astype(np.float64)
        angle = np.arccos(np.clip(gram, -1, 1))

        def spread(subset: tuple[int, ...], angle: NDArray[np.float64] = angle) -> float:
            return min(angle[i, j] for i, j in combinations(subset, 2))

        best = max(spread(subset) for subset in combinations(range(9), 4))
        assert spread(tuple(diverse(gram.astype(np.float32), 4))) >= best / 2


@pytest.mark.parametrize("keep", [1, 3, 4, 5, 7, 11, 15])
def test_dart_takes_least_duplicates_in_turn(keep: int) -> None:
    for seed in range(10):
        view = _view(seed, keep=keep)
        pivots = sorted(range(16), key=lambda i: (-view.saliency[i], i))[: min(PIVOTS, keep)]
        taken, owed = list(pivots), keep - len(pivots)
        for turn, pivot in enumerate(pivots):
            rest = sorted(set(range(16)) - set(taken), key=lambda i: (view.gram[pivot, i], i))
            taken += rest[: len([place for place in range(owed) if place % len(pivots) == turn])]
        kept, is_pivot = METHODS["dart"].select(view)
        np.testing.assert_array_equal(kept, sorted(taken))
        np.testing.assert_array_equal(kept[is_pivot], sorted(pivots))


@pytest.mark.parametrize(("keep", "dominant"), [(64, 54), (128, 108), (192, 162), (6, 6), (7, 6)])
def test_visionzip_shares_as_published(keep: int, dominant: int) -> None:
    view = _view(2, side=24, keep=keep)
    kept, is_pivot = METHODS["visionzip"].select(view)
    assert int(is_pivot.sum()) == dominant
    assert min(view.cls_saliency[kept[is_pivot]]) > max(np.delete(view.cls_saliency, kept[is_pivot]))


def test_visionzip_samples_the_rest_at_equal_steps() -> None:
    view = _view(4, side=24, keep=64)
    kept, is_pivot = METHODS["visionzip"].select(view)
    rest = np.setdiff1d(np.arange(576), kept[is_pivot])
    np.testing.assert_array_equal(kept[~is_pivot], rest[0 : 10 * (len(rest) // 10) : len(rest) // 10])


@pytest.mark.parametrize("keep", [1, 2, 3, 5, 9, 12])
def test_vispruner_takes_duplicates_away_eight_at_a_time(keep: int) -> None:
    """Against the loop of a public implementation, written out one pair at a time on distinct similarities."""
    for seed in range(8):
        view = _view(seed, side=6, keep=keep)
        order = sorted(range(36), key=lambda i: (-view.cls_saliency[i], i))
        important, left = order[: keep // 2], order[keep // 2 :]
        while len(left) > keep - keep // 2:
            go = min(8, len(left) - keep + keep // 2)
            alike = {i: max((float(view.gram[i, j]) for j in left[1::2]), default=-2) for i in left[::2]}
            left = sorted(left[::2], key=lambda i: -alike[i])[go:] + left[1::2]
        kept, is_pivot = METHODS["vispruner"].select(view)
        np.testing.assert_array_equal(kept, sorted(important + left))
        np.testing.assert_array_equal(kept[is_pivot], sorted(important))


def test_vispruner_keeps_one_of_two_that_are_alike() -> None:
    """Two of every direction among ten of no attention: what is left has all five."""
    rows = np.repeat(np.eye(5, dtype=np.float32), 2, axis=0)
    view = replace(_view(0, tokens=10), gram=token_gram(rows[None])[0], cls_saliency=np.zeros(10, np.float32), keep=10)
    left = distinct(view.gram, np.arange(10), 5)
    np.testing.assert_array_equal(np.sort(left), [1, 3, 5, 7, 9])


def test_raters_are_the_text_tokens_that_matter_to_the_image() -> None:
    rng = np.random.default_rng(0)
    visual = rng.standard_normal((9, 4)).astype(np.float32)
    text = rng.standard_normal((5, 4)).astype(np.float32)
    text[3] = 4 * visual.mean(axis=0)
    relevance = np.zeros(5)
    for row in visual:
        weights = np.array([np.exp(float(np.dot(row.astype(float), word.astype(float)))) for word in text])
        relevance += weights / weights.sum()
    np.testing.assert_array_equal(raters(text, visual), relevance >= relevance.sum() / 5)
    assert raters(text, visual)[3]


@pytest.mark.parametrize("value", [0.0, 1e38, np.nan, np.inf])
def test_there_is_always_a_rater(value: float) -> None:
    text, visual = np.full((7, 3), value, np.float32), np.ones((4, 3), np.float32)
    assert raters(text, visual).all()


@pytest.mark.parametrize("name", ["clasp", "clasp-fixed"])
def test_clasp_is_the_reference_selection(name: str) -> None:
    rng = np.random.default_rng(6)
    rows = rng.standard_normal((1, 16, 5)).astype(np.float32)
    view = replace(_view(6, keep=7), gram=token_gram(rows)[0])
    kept, is_pivot = METHODS[name].select(view)
    expected, expected_pivots = select(view.saliency[None], rows, np.array([view.pivot_count]), 7)
    np.testing.assert_array_equal(kept, expected[0])
    np.testing.assert_array_equal(is_pivot, expected_pivots[0])


@pytest.mark.parametrize("rows", [1, 5])
def test_pyramiddrop_is_rated_by_the_last_row_alone(rows: int) -> None:
    rate = pyramiddrop.raters(np.ones((rows, 3), np.float32), np.ones((4, 3), np.float32))
    assert rate.tolist() == [False] * (rows - 1) + [True]


@pytest.mark.parametrize("seed", range(6))
def test_cdpruner_takes_what_makes_the_determinant_largest(seed: int) -> None:
    """Against determinants of double precision, each of the tokens that are taken and of one more."""
    view = _view(seed, keep=4)
    relevance = (view.saliency - view.saliency.min()) / (view.saliency.max() - view.saliency.min()) + 1e-6
    kernel = np.diag(relevance).astype(np.float64) @ view.gram @ np.diag(relevance)
    taken: list[int] = []
    while len(taken) < view.keep:
        volumes = {one: np.linalg.det(kernel[np.ix_([*taken, one], [*taken, one])]) for one in range(16)}
        taken.append(max((one for one in volumes if one not in taken), key=volumes.__getitem__))
    kept, is_pivot = METHODS["cdpruner"].select(view)
    assert kept.tolist() == sorted(taken)
    assert not is_pivot.any()
