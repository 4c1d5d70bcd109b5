"""The Gram kernels, run on the host, against the numpy reference in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clasp_trt.ops import GRAM_STEPS, token_gram
from clasp_trt.plugins import launch
from clasp_trt.plugins.launch import gram as plans
from tests.engines.kernels.emulator import ARRAY, Array, Emulator

DTYPES = ("float16", "bfloat16", "float32")
UNIT = 2.0**-24  # relative error of one float32 operation


def tolerance_in_steps(x: Array) -> NDArray[np.float64]:
    """How far float32 may lead from the reference, ``[tokens, tokens]``, in steps of ``1 / GRAM_STEPS``.

    A sum of ``width`` products is off by at most ``width`` units of the sum of their magnitudes, whatever its order;
    for the two squared lengths that is half of it each. Seven units are for roots, product, quotient and rounding to
    float32 on either side. Rounding to steps then turns any deviation into at most one more step.
    """
    rows = np.nan_to_num(x.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    norm = np.linalg.norm(rows / np.abs(rows).max(-1, keepdims=True).clip(1e-300), axis=-1).clip(1e-300)
    unit = np.abs(rows) / np.abs(rows).max(-1, keepdims=True).clip(1e-300) / norm[:, None]
    sums = unit @ unit.T
    return 1.0 + GRAM_STEPS * UNIT * ((x.shape[-1] + 7) * sums + x.shape[-1] + 7)


def check(emulator: Emulator, x: Array, seed: int = 0, blocks: int = 3) -> Array:
    """Runs the kernels on tokens ``[batch, tokens, width]`` and holds the result against the contract."""
    plan = launch.token_gram(*x.shape, dtype=str(x.dtype))
    gram = emulator.run(plan, {"visual": x}, seed=seed, blocks=blocks)["gram"]
    expected = token_gram(x)
    np.testing.assert_array_equal(gram, np.swapaxes(gram, 1, 2))
    steps = gram * np.float32(GRAM_STEPS)
    np.testing.assert_array_equal(steps, np.rint(steps))
    diagonal = np.diagonal(gram, axis1=1, axis2=2)
    np.testing.assert_array_equal(diagonal, np.diagonal(expected, axis1=1, axis2=2))
    invalid = diagonal == 0
    assert not gram[invalid].any(), "rows of invalid tokens are zero"
    assert np.abs(gram).max() <= 1.0
    for image, values in enumerate(gram):
        deviation = np.abs(values.astype(np.float64) - expected[image]) * GRAM_STEPS
        assert (deviation <= tolerance_in_steps(x[image])).all(), deviation.max()
    return gram


def random_tokens(rng: np.random.Generator, dtype: str) -> Array:
    """Ragged sizes, duplicates, rows of any magnitude, zero rows and rows that are not finite."""
    shape = (int(rng.integers(1, 3)), int(rng.integers(1, 70)), int(rng.integers(1, 150)))
    widest = {"float16": 4.5, "bfloat16": 37.0, "float32": 37.0}[dtype]
    x = rng.uniform(-1.0, 1.0, shape) * 10.0 ** (rng.integers(0, 2) * rng.uniform(-widest, widest, (*shape[:2], 1)))
    x[rng.random(shape[:2]) < 0.2] = x[0, 0]
    x[rng.random(shape[:2]) < 0.1] = 0.0
    poisoned = rng.random(shape[:2]) < rng.choice([0.0, 0.2])
    x[poisoned, rng.integers(0, shape[2])] = rng.choice([np.nan, np.inf, -np.inf])
    return x.astype(ARRAY[dtype])


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**31), dtype=st.sampled_from(DTYPES), blocks=st.integers(1, 5), large=st.booleans())
def test_tokens_of_every_kind(emulator: Emulator, seed: int, dtype: str, blocks: int, large: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "_LARGE", 0 if large else 10**9)  # both sizes of tiles
        check(emulator, random_tokens(np.random.default_rng(seed), dtype), seed, blocks)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 130, 1000), (2, 64, 2048), (1, 5, 8192)], ids=str)
def test_width_shared_out_among_blocks(emulator: Emulator, dtype: str, shape: tuple[int, int, int]) -> None:
    plan = launch.token_gram(*shape, dtype=dtype)
    splits = plan.launches[-1].arguments[-2]
    assert isinstance(splits, launch.Int32)
    assert splits.value > 1
    check(emulator, np.random.default_rng(shape[1]).standard_normal(shape).astype(ARRAY[dtype]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_ends_of_the_range(emulator: Emulator, dtype: str) -> None:
    """The largest and smallest values of a type have squares that float32 cannot hold without a scale."""
    largest = {"float16": 65504.0, "bfloat16": 3.3895e38, "float32": 3.4028234e38}[dtype]
    smallest = {"float16": 2.0**-24, "bfloat16": 2.0**-133, "float32": 2.0**-149}[dtype]
    rows = np.array([[1, 1], [1, -1], [1, 0]])
    x = np.concatenate([rows * largest, rows * smallest, rows]).astype(ARRAY[dtype])[None]
    gram = check(emulator, x)
    block = np.tile(np.array([[1, 0, 0.5**0.5], [0, 1, 0.5**0.5], [0.5**0.5, 0.5**0.5, 1]]), (3, 3))
    np.testing.assert_allclose(gram[0], block, atol=1 / GRAM_STEPS)


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_rows_have_similarity_one(emulator: Emulator, dtype: str) -> None:
    row = np.random.default_rng(5).standard_normal(777)
    x = np.stack([row] * 70)[None].astype(ARRAY[dtype])
    assert (check(emulator, x) == 1.0).all()


def test_result_does_not_depend_on_the_grid(emulator: Emulator) -> None:
    x = np.random.default_rng(6).standard_normal((1, 150, 300)).astype(np.float16)
    np.testing.assert_array_equal(check(emulator, x, seed=1, blocks=1), check(emulator, x, seed=2, blocks=7))
