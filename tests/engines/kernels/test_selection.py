"""The selection kernels, run on the host, against the numpy references: index for index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clasp_trt.ops import GRAM_STEPS, ITERATIONS, pivot_select, spherical_kmeans, token_gram
from clasp_trt.plugins import launch
from clasp_trt.plugins.launch import selection
from tests.engines.kernels.emulator import Array, Emulator

pytestmark = pytest.mark.full  # kernels on an emulated device

POISON = np.array([np.nan, np.inf, -np.inf])


@dataclass(frozen=True)
class Case:
    """A batch of images, each with its own saliency, Gram matrix and pivot count; and how the kernels are run."""

    saliency: NDArray[np.float32]
    gram: NDArray[np.float32]
    pivot_count: NDArray[np.int64]
    keep: int
    seed: int
    blocks: int
    warps: int

    @property
    def batch(self) -> int:
        return len(self.saliency)

    @property
    def tokens(self) -> int:
        return self.saliency.shape[1]

    @property
    def pivots(self) -> NDArray[np.bool_]:
        return pivot_select(self.saliency, self.pivot_count, self.keep)


def tokens_with_ties(rng: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Rows full of duplicates, opposites, zero rows and rows that are not finite."""
    x = rng.standard_normal(shape).round(int(rng.integers(0, 3)))
    copies = rng.random(shape[:2]) < rng.choice([0.0, 0.3, 0.9])
    x[copies] = x[:, rng.integers(0, shape[1])].repeat(copies.sum(axis=1), axis=0) * rng.choice([1.0, -1.0, 2.0])
    x[rng.random(shape[:2]) < rng.choice([0.0, 0.2])] = 0.0
    x[rng.random(shape[:2]) < rng.choice([0.0, 0.1]), 0] = rng.choice(POISON)
    return x


def gram_of_few_values(rng: np.random.Generator, batch: int, tokens: int) -> NDArray[np.float32]:
    """Symmetric matrices that no tokens have, but the contract allows: nearly every comparison is a tie."""
    steps = rng.choice([-GRAM_STEPS, -1, 0, 1, GRAM_STEPS // 2, GRAM_STEPS], (batch, tokens, tokens))
    steps = np.triu(steps) + np.swapaxes(np.triu(steps, 1), 1, 2)
    index = np.arange(tokens)
    steps[:, index, index] = GRAM_STEPS
    invalid = rng.random((batch, tokens)) < 0.1
    steps[invalid] = 0
    np.swapaxes(steps, 1, 2)[invalid] = 0
    return (steps / GRAM_STEPS).astype(np.float32)


def saliency_with_ties(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    phi = rng.standard_normal(shape).round(int(rng.integers(0, 3))).astype(np.float32)
    return np.where(rng.random(shape) < rng.choice([0.0, 0.3]), rng.choice([*POISON, 0.0, -0.0], shape), phi).astype(
        np.float32
    )


@st.composite
def cases(draw: st.DrawFn, most_tokens: int, most_images: int = 3) -> Case:
    batch, tokens = draw(st.integers(1, most_images)), draw(st.integers(1, most_tokens))
    keep = draw(st.integers(1, tokens + 1))
    counts = draw(st.lists(st.sampled_from([0, 1, keep // 2, keep - 1, keep]), min_size=batch, max_size=batch))
    seed = draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    if draw(st.booleans()):
        gram = token_gram(tokens_with_ties(rng, (batch, tokens, draw(st.integers(1, 5)))))
    else:
        gram = gram_of_few_values(rng, batch, tokens)
    return Case(
        saliency=saliency_with_ties(rng, (batch, tokens)),
        gram=gram,
        pivot_count=np.array(counts, dtype=np.int64),
        keep=keep,
        seed=seed,
        blocks=draw(st.integers(1, 6)),
        warps=draw(st.integers(1, 5)),
    )


def run_pivots(emulator: Emulator, case: Case) -> Array:
    plan = launch.pivot_select(case.batch, case.tokens, case.keep)
    inputs = {"saliency": case.saliency, "pivot_count": case.pivot_count}
    return emulator.run(plan, inputs, seed=case.seed, blocks=case.blocks, warps=case.warps)["pivots"]


def run_kmeans(emulator: Emulator, case: Case, iterations: int = ITERATIONS) -> tuple[Array, Array]:
    plan = launch.spherical_kmeans(case.batch, case.tokens, case.keep, iterations)
    inputs = {"gram": case.gram, "pivots": case.pivots}
    out = emulator.run(plan, inputs, seed=case.seed, blocks=case.blocks, warps=case.warps)
    return out["kept"], out["is_pivot"]


def check(emulator: Emulator, case: Case, iterations: int = ITERATIONS) -> None:
    np.testing.assert_array_equal(run_pivots(emulator, case), case.pivots)
    kept, is_pivot = spherical_kmeans(case.gram, case.pivots, case.keep, iterations)
    emulated = run_kmeans(emulator, case, iterations)
    np.testing.assert_array_equal(emulated[0], kept)
    np.testing.assert_array_equal(emulated[1], is_pivot)


@settings(max_examples=250, deadline=None)
@given(case=cases(most_tokens=24), iterations=st.sampled_from([1, 2, ITERATIONS]))
def test_small_images(emulator: Emulator, case: Case, iterations: int) -> None:
    check(emulator, case, iterations)


@settings(max_examples=80, deadline=None)
@given(case=cases(most_tokens=200, most_images=2))
def test_ragged_images(emulator: Emulator, case: Case) -> None:
    check(emulator, case)


@settings(max_examples=50, deadline=None)
@given(case=cases(most_tokens=40), plane=st.integers(1, 20))
def test_sums_split_over_planes(emulator: Emulator, case: Case, plane: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "MAX_PLANE_TOKENS", plane)
        check(emulator, case)


def random_case(tokens: int, keep: int, pivots: int, blocks: int, warps: int) -> Case:
    rng = np.random.default_rng(tokens + pivots)
    return Case(
        saliency=rng.random((1, tokens), dtype=np.float32),
        gram=token_gram(rng.standard_normal((1, tokens, 24))),
        pivot_count=np.array([pivots]),
        keep=keep,
        seed=tokens,
        blocks=blocks,
        warps=warps,
    )


@pytest.mark.parametrize("pivots", [0, 134, 172, 192])
def test_an_image_of_llava(emulator: Emulator, pivots: int) -> None:
    check(emulator, random_case(tokens=576, keep=192, pivots=pivots, blocks=5, warps=8))


def test_full_blocks_as_on_the_device(emulator: Emulator) -> None:
    check(emulator, random_case(tokens=100, keep=70, pivots=5, blocks=9, warps=32))


@pytest.mark.parametrize("pivots", [32, 288])
def test_an_image_of_llava_next(emulator: Emulator, pivots: int) -> None:
    check(emulator, random_case(tokens=2880, keep=320, pivots=pivots, blocks=8, warps=8))


def test_the_longest_sums_do_not_overflow(emulator: Emulator) -> None:
    """4096 equal tokens but for one: the sum of their similarities is 2**32 steps, the cluster's length 2**44."""
    x = np.ones((1, 4096, 2))
    x[0, 7] = [1.0, 0.5]
    saliency = np.zeros((1, 4096), dtype=np.float32)
    case = Case(saliency, token_gram(x), np.array([0]), keep=2, seed=1, blocks=8, warps=16)
    check(emulator, case, iterations=2)


@settings(max_examples=50, deadline=None)
@given(case=cases(most_tokens=70))
def test_result_depends_neither_on_the_schedule_nor_on_the_grid(emulator: Emulator, case: Case) -> None:
    other = Case(**{**vars(case), "seed": case.seed + 1, "blocks": case.blocks + 3, "warps": case.warps % 5 + 1})
    np.testing.assert_array_equal(run_kmeans(emulator, case)[0], run_kmeans(emulator, other)[0])


@pytest.mark.parametrize(("count", "marked"), [(-5, 0), (-(2**63), 0), (7, 4), (2**40, 4), (2**63 - 1, 4)])
def test_pivot_count_out_of_range_is_clamped(emulator: Emulator, count: int, marked: int) -> None:
    check_clamped(emulator, count, marked)


def check_clamped(emulator: Emulator, count: int, marked: int) -> None:
    plan = launch.pivot_select(batch=1, tokens=9, keep=4)
    saliency = np.arange(9, dtype=np.float32)[None]
    pivots = emulator.run(plan, {"saliency": saliency, "pivot_count": np.array([count])})["pivots"]
    assert np.flatnonzero(pivots[0]).tolist() == list(range(9 - marked, 9))


def test_too_many_pivots_stay_within_the_buffers(emulator: Emulator) -> None:
    check_too_many_pivots(emulator)


def check_too_many_pivots(emulator: Emulator) -> None:
    plan = launch.spherical_kmeans(batch=2, tokens=40, keep=6)
    gram = token_gram(np.random.default_rng(3).standard_normal((2, 40, 4)))
    out = emulator.run(plan, {"gram": gram, "pivots": np.ones((2, 40), dtype=np.bool_)})
    assert out["kept"].tolist() == [[0, 1, 2, 3, 4, 5]] * 2
    assert out["is_pivot"].all()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), tokens=st.integers(2, 50), data=st.data())
def test_a_gram_matrix_that_breaks_the_contract_stays_within_the_buffers(
    emulator: Emulator, seed: int, tokens: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    keep = data.draw(st.integers(1, tokens - 1))
    gram = rng.standard_normal((1, tokens, tokens)).astype(np.float32) * np.float32(10.0 ** rng.integers(0, 30))
    gram[rng.random(gram.shape) < 0.2] = rng.choice(POISON)
    pivots = rng.random((1, tokens)) < rng.random()
    out = emulator.run(launch.spherical_kmeans(1, tokens, keep), {"gram": gram, "pivots": pivots}, seed=seed)
    kept = out["kept"][0]
    assert (np.diff(kept) > 0).all()
    assert 0 <= kept[0] <= kept[-1] < tokens
