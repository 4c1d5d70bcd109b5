"""The function bodies as one-node graphs on ONNX Runtime, index for index against the numpy references."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from clasp_trt.export.graph import GraphBuilder
from clasp_trt.export.pruning.selection import _HALF, pivot_select, spherical_kmeans, token_gram
from clasp_trt.operators import DOMAIN, MAX_TOKENS, PIVOT_SELECT, SPHERICAL_KMEANS
from clasp_trt.ops import GRAM_STEPS, ITERATIONS
from clasp_trt.ops import pivot_select as reference_pivots
from clasp_trt.ops import spherical_kmeans as reference_kmeans
from clasp_trt.ops import token_gram as reference_gram
from tests.export.running import Runnable

# one token, pairs, one less and one more than the widths of vector registers, a large odd prime
SIZES = [(1, 1), (2, 1), (2, 2), (3, 2), (7, 3), (8, 8), (15, 6), (17, 1), (31, 30), (33, 16), (67, 22), (67, 67)]
POISON = [np.nan, np.inf, -np.inf, 0.0, -0.0, 0.5, 1.0]


def pivot_model(tokens: int, keep: int) -> ir.Model:
    g = GraphBuilder("pivots", "One node.")
    saliency = g.input("saliency", "float32", ["batch", tokens], "")
    count = g.input("pivot_count", "int64", ["batch"], "")
    marks = g.op(PIVOT_SELECT.name, saliency, count, domain=DOMAIN, keep=keep)
    g.output(marks, "pivots", "bool", ["batch", tokens], "")
    return g.model([pivot_select(tokens, keep)])


def kmeans_model(tokens: int, keep: int, iterations: int = ITERATIONS) -> ir.Model:
    g = GraphBuilder("kmeans", "One node.")
    gram = g.input("gram", "float32", ["batch", tokens, tokens], "")
    pivots = g.input("pivots", "bool", ["batch", tokens], "")
    kept, is_pivot = g.ops(
        SPHERICAL_KMEANS.name, gram, pivots, outputs=2, domain=DOMAIN, keep=keep, iterations=iterations
    )
    g.output(kept, "kept", "int64", ["batch", keep], "")
    g.output(is_pivot, "is_pivot", "bool", ["batch", keep], "")
    return g.model([spherical_kmeans(tokens, keep, iterations)])


def gram_model(tokens: int, width: int, dtype: str = "float32") -> ir.Model:
    g = GraphBuilder("gram", "The Gram matrix alone.")
    x = g.input("x", dtype, ["batch", tokens, width], "")
    g.output(token_gram(g, x, tokens), "gram", "float32", ["batch", tokens, tokens], "")
    return g.model()


@functools.cache
def _pivots(tokens: int, keep: int) -> Runnable:
    return Runnable(pivot_model(tokens, keep))


@functools.cache
def _kmeans(tokens: int, keep: int, iterations: int = ITERATIONS) -> Runnable:
    return Runnable(kmeans_model(tokens, keep, iterations))


def _check_kmeans(gram: NDArray[np.float32], pivots: NDArray[np.bool_], keep: int, iterations: int) -> None:
    kept, is_pivot = reference_kmeans(gram, pivots, keep, iterations)
    found = _kmeans(gram.shape[1], keep, iterations)(gram=gram, pivots=pivots)
    np.testing.assert_array_equal(found["kept"], kept)
    np.testing.assert_array_equal(found["is_pivot"], is_pivot)


def _marks(rng: np.random.Generator, batch: int, tokens: int, counts: list[int]) -> NDArray[np.bool_]:
    marks = np.zeros((batch, tokens), dtype=bool)
    for row, count in zip(marks, counts, strict=True):
        row[rng.permutation(tokens)[:count]] = True
    return marks


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SIZES), st.integers(1, 3), st.data())
def test_pivots(size: tuple[int, int], batch: int, data: st.DataObject) -> None:
    tokens, keep = size
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    phi = rng.random((batch, tokens)).astype(np.float32)
    if data.draw(st.booleans()):
        phi = rng.choice(np.array(POISON, dtype=np.float32), (batch, tokens))
    counts = np.array(data.draw(st.lists(st.integers(0, keep), min_size=batch, max_size=batch)))
    found = _pivots(tokens, keep)(saliency=phi, pivot_count=counts)["pivots"]
    np.testing.assert_array_equal(found, reference_pivots(phi, counts, keep))


@pytest.mark.parametrize("value", POISON)
def test_pivots_of_equal_saliency_are_the_lowest_indices(value: float) -> None:
    phi = np.full((2, 67), value, dtype=np.float32)
    found = _pivots(67, 22)(saliency=phi, pivot_count=np.array([0, 22]))["pivots"]
    assert not found[0].any()
    assert np.flatnonzero(found[1]).tolist() == list(range(22))


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(SIZES), st.integers(1, 3), st.sampled_from([1, ITERATIONS]), st.data())
def test_kmeans(size: tuple[int, int], batch: int, iterations: int, data: st.DataObject) -> None:
    """Gram matrices of generic tokens, and of few distinct ones: duplicates, opposites, zero and poisoned rows."""
    tokens, keep = size
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x = rng.standard_normal((batch, tokens, 5))
    if data.draw(st.booleans()):
        x = rng.integers(-1, 2, (batch, tokens, 2)).astype(np.float64)
    x[rng.random((batch, tokens)) < data.draw(st.sampled_from([0.0, 0.1, 0.6]))] = data.draw(st.sampled_from(POISON))
    counts = data.draw(st.lists(st.sampled_from([0, keep // 2, keep]), min_size=batch, max_size=batch))
    _check_kmeans(reference_gram(x), _marks(rng, batch, tokens, counts), keep, iterations)


@pytest.mark.parametrize("kind", ["identical", "invalid", "opposite", "negative length"])
@pytest.mark.parametrize("count", [0, 3, 21, 22])
def test_kmeans_of_degenerate_matrices(kind: str, count: int) -> None:
    tokens, keep = 67, 22
    x = np.ones((1, tokens, 3))
    if kind == "invalid":
        x[:] = np.nan
    elif kind == "opposite":
        x[:, 1::2] = -1
    gram = reference_gram(x)
    if kind == "negative length":  # more opposition than vectors can have, as rounding to the grid may leave
        gram = (2 * np.eye(tokens, dtype=np.float32) - 1)[None]
    _check_kmeans(gram, _marks(np.random.default_rng(0), 1, tokens, [count]), keep, ITERATIONS)


def test_an_empty_cluster_keeps_its_center() -> None:
    """Seeds 1 and 2 are equal, so cluster 1 is empty after the first iteration and wins both back in the second."""
    x = np.array([[[-1, 0], [1, 0], [1, 0], [0, 1]]])
    pivots = np.array([[True, False, False, False]])
    found = [_kmeans(4, 3, iterations)(gram=reference_gram(x), pivots=pivots)["kept"] for iterations in (1, 5)]
    assert [kept.tolist() for kept in found] == [[[0, 1, 2]], [[0, 1, 3]]]


@pytest.mark.parametrize("count", [1, pytest.param(8, marks=pytest.mark.full)])
def test_sums_of_similarities_are_exact_at_a_large_size(count: int) -> None:
    """Similarities of 1 and -1, the largest there are, and one step less for a few: the float32 bodies must see the
    difference, though the sums need 33 bits and the squared lengths 45."""
    rng, tokens = np.random.default_rng(3), 4160
    gram = np.ones((1, tokens, tokens), dtype=np.float32)
    sign = np.where(rng.random(tokens) < 0.5, -1, 1).astype(np.float32)
    sign[: tokens // 8] = 1
    gram *= sign[:, None] * sign[None]
    less = np.triu(rng.random((tokens, tokens), dtype=np.float32) < 0.3, 1)
    gram[0][less | less.T] *= np.float32(1 - 1 / GRAM_STEPS)
    _check_kmeans(gram, _marks(rng, 1, tokens, [count]), 9, 2)


def test_halves_of_similarities_add_up_exactly_at_the_largest_size() -> None:
    """The largest halves there are, of as many tokens as there may be, and one part less: neither sum is rounded."""
    high, low = GRAM_STEPS / _HALF, _HALF - 1
    for part in (high, low):
        assert float(np.float32(MAX_TOKENS * part)) == MAX_TOKENS * part
        assert float(np.float32(MAX_TOKENS * part - 1)) == MAX_TOKENS * part - 1
    assert float(np.float32((MAX_TOKENS + 1) * high - 1)) != (MAX_TOKENS + 1) * high - 1, "the bound is no smaller"


def test_bodies_mean_the_same_to_the_reference_evaluator() -> None:
    """A second reader of the function bodies, slow and literal."""
    rng = np.random.default_rng(4)
    phi = rng.random((2, 15)).astype(np.float32)
    found = _evaluate(pivot_model(15, 6), saliency=phi, pivot_count=np.array([0, 5]))
    np.testing.assert_array_equal(found[0], reference_pivots(phi, [0, 5], 6))
    x = rng.standard_normal((2, 15, 4)).astype(np.float32)
    gram, pivots = reference_gram(x), _marks(rng, 2, 15, [3, 2])
    assert np.abs(_evaluate(gram_model(15, 4), x=x)[0] - gram).max() <= 1 / GRAM_STEPS
    found = _evaluate(kmeans_model(15, 6), gram=gram, pivots=pivots)
    for one, other in zip(found, reference_kmeans(gram, pivots, 6), strict=True):
        np.testing.assert_array_equal(one, other)


def _evaluate(model: ir.Model, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
    results: Any = ReferenceEvaluator(ir.to_proto(model)).run(None, inputs)
    return list(results)


# --- Gram matrix --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("tokens", "width"), [(1, 1), (5, 3), (33, 64), (67, 1024)])
def test_gram(tokens: int, width: int, dtype: str) -> None:
    rng = np.random.default_rng(5)
    scales = np.exp(rng.standard_normal((3, tokens, 1)) * 2)
    x = (rng.standard_normal((3, tokens, width)) * scales).astype(dtype)
    x[0, 0] = 0
    x[1, -1, 0] = np.nan
    x[2, tokens // 2, -1] = -np.inf
    found = Runnable(gram_model(tokens, width, dtype))(x=x)["gram"]
    expected = reference_gram(x)
    np.testing.assert_array_equal(found, found.transpose(0, 2, 1))
    np.testing.assert_array_equal(np.diagonal(found, axis1=1, axis2=2), np.diagonal(expected, axis1=1, axis2=2))
    np.testing.assert_array_equal(found * GRAM_STEPS, np.rint(found * GRAM_STEPS))
    # float32 sums of `width` products of unit vectors err by at most 2**-24 sqrt(width) in practice; then half a step
    assert np.abs(found - expected).max() <= 1 / GRAM_STEPS + 2.0**-24 * np.sqrt(width)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_gram_of_extreme_rows(dtype: str) -> None:
    limits: Any = np.finfo(dtype)
    rows = [[limits.smallest_subnormal, 0], [limits.tiny, limits.tiny], [limits.max, 0], [limits.max, limits.max]]
    x = np.array([rows], dtype=dtype)
    np.testing.assert_array_equal(Runnable(gram_model(4, 2, dtype))(x=x)["gram"], reference_gram(x))
