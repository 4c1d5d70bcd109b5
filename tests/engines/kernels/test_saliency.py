"""The saliency reduction, run on the host, against float64."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from clasp_trt.plugins import launch
from tests.engines.kernels.emulator import ARRAY, Array, Emulator

UNIT = 2.0**-24
FAR = np.array([-(2**63), -(2**40) + 3, -(2**32) + 1, -7, -1, 0, 2**15, 2**32 - 1, 2**32, 2**33 + 2, 2**63 - 1])
"""Indices of which nearly all are out of range, also where only their low 32 bits are looked at."""


def check(emulator: Emulator, attention: Array, seed: int, blocks: int, warps: int) -> None:
    """Runs the kernels on weights ``[batch, heads, rows, tokens]`` and compares with the mean in float64."""
    plan = launch.saliency(*attention.shape, dtype=str(attention.dtype))
    saliency = emulator.run(plan, {"attention": attention}, seed=seed, blocks=blocks, warps=warps)["saliency"]
    exact = attention.astype(np.float64).mean(axis=(1, 2))
    # weights are not negative, so a sum of n of them is off by at most n units, the quotient by one more
    np.testing.assert_allclose(saliency, exact, rtol=(attention.shape[1] * attention.shape[2] + 1) * UNIT, atol=0)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 2), st.integers(1, 8), st.integers(1, 40), st.integers(1, 70)),
    dtype=st.sampled_from(["float16", "bfloat16", "float32"]),
    blocks=st.integers(1, 5),
    warps=st.integers(1, 4),
)
def test_mean_over_heads_and_rows(
    emulator: Emulator, seed: int, shape: tuple[int, int, int, int], dtype: str, blocks: int, warps: int
) -> None:
    attention = np.random.default_rng(seed).random(shape).astype(ARRAY[dtype])
    check(emulator, attention, seed, blocks, warps)


def test_what_is_not_finite_shows(emulator: Emulator) -> None:
    attention = np.ones((1, 2, 3, 40), dtype=np.float16)
    attention[0, 1, 2, 5] = np.nan
    saliency = emulator.run(launch.saliency(1, 2, 3, 40, "float16"), {"attention": attention})["saliency"]
    assert np.flatnonzero(np.isnan(saliency[0])).tolist() == [5]
    assert (np.delete(saliency[0], 5) == 1.0).all()


def random_attention(rng: np.random.Generator, dtype: str) -> dict[str, Array]:
    """Queries and keys of a few heads, a cache that is longer than what is filled, and rows in any order."""
    key_heads, groups = int(rng.integers(1, 3)), int(rng.integers(1, 4))
    head_size, sequence = int(rng.choice([1, 7, 8, 40])), int(rng.integers(1, 150))
    before, spare = int(rng.integers(0, 9)) * int(rng.integers(0, 2)), int(rng.integers(0, 40))
    capacity = before + sequence + spare
    key = rng.standard_normal((1, key_heads, capacity, head_size)) * 3
    key[:, :, before + sequence :] = np.nan  # empty slots
    return {
        "query": rng.standard_normal((1, key_heads * groups, sequence, head_size)).astype(ARRAY[dtype]),
        "key": key.astype(ARRAY[dtype]),
        "reference_index": rng.permutation(sequence)[: int(rng.integers(1, sequence + 1))],
        "visual_index": np.sort(rng.permutation(sequence)[: int(rng.integers(1, sequence + 1))]),
        "write_index": np.array([before]),
    }


def plan_of(inputs: dict[str, Array]) -> launch.Plan:
    _, heads, sequence, head_size = inputs["query"].shape
    _, key_heads, capacity, _ = inputs["key"].shape
    return launch.attention_saliency(
        heads=heads,
        key_heads=key_heads,
        head_size=head_size,
        sequence=sequence,
        capacity=capacity,
        references=len(inputs["reference_index"]),
        tokens=len(inputs["visual_index"]),
        dtype=str(inputs["query"].dtype),
    )


def check_attention(emulator: Emulator, inputs: dict[str, Array], seed: int, blocks: int, warps: int) -> None:
    """Runs the kernels and compares with the weights in float64, column by column."""
    query, key = inputs["query"].astype(np.float64)[0], inputs["key"].astype(np.float64)[0]
    heads, sequence, head_size = query.shape
    filled = int(inputs["write_index"][0]) + sequence
    rows = query[:, inputs["reference_index"]]
    keys = np.repeat(key[:, :filled], heads // len(key), axis=0)
    scores = rows @ np.swapaxes(keys, 1, 2) / np.sqrt(head_size)
    last = inputs["write_index"][0] + inputs["reference_index"]
    scores[:, np.arange(filled)[None] > last[:, None]] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    exact = weights[..., inputs["visual_index"]].mean(axis=(0, 1))

    out = emulator.run(plan_of(inputs), inputs, seed=seed, blocks=blocks, warps=warps)["saliency"]
    # A score is off by (head_size + 3) units of the sum of its products' magnitudes, and so is the largest one that is
    # subtracted; the exponential turns that into a relative error, and rounds its argument and result (4 units of an
    # argument below 100). Sums of slots and rows add a unit each. All of it twice: weight over sum of weights.
    magnitude = (np.abs(rows) @ np.abs(np.swapaxes(keys, 1, 2)) / np.sqrt(head_size)).max()
    span = np.ptp(np.where(np.isfinite(scores), scores, 0.0))
    units = 2 * ((head_size + 3) * 2 * magnitude + span + 4 + filled + heads * len(last))
    np.testing.assert_allclose(out[0], exact, rtol=units * UNIT, atol=2.0**-126)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from(["float16", "bfloat16", "float32"]),
    blocks=st.integers(1, 5),
    warps=st.integers(1, 4),
)
def test_from_queries_and_keys(emulator: Emulator, seed: int, dtype: str, blocks: int, warps: int) -> None:
    check_attention(emulator, random_attention(np.random.default_rng(seed), dtype), seed, blocks, warps)


def test_query_that_is_not_finite_shows(emulator: Emulator) -> None:
    inputs = random_attention(np.random.default_rng(1), "float32")
    inputs["query"][0, 0, inputs["reference_index"][0]] = np.nan
    saliency = emulator.run(plan_of(inputs), inputs)["saliency"][0]
    seen = inputs["visual_index"] <= inputs["write_index"][0] + inputs["reference_index"][0]
    assert np.isnan(saliency).tolist() == seen.tolist()


def check_indices_out_of_range(emulator: Emulator, rng: np.random.Generator, dtype: str, **how: int) -> None:
    """The answer is that of the nearest legal indices: what is read is where those point."""
    inputs = random_attention(rng, dtype)
    sequence, capacity = inputs["query"].shape[2], inputs["key"].shape[2]
    highest = {"reference_index": sequence - 1, "visual_index": capacity - 1, "write_index": capacity - sequence}
    inputs["key"] = np.nan_to_num(inputs["key"].astype(np.float32)).astype(inputs["key"].dtype)
    for name in highest:
        wrong = rng.random(inputs[name].shape) < 0.5
        inputs[name] = np.where(wrong, rng.choice(FAR, wrong.shape), inputs[name])
    nearest = {name: np.clip(inputs[name], 0, most) for name, most in highest.items()}
    found = emulator.run(plan_of(inputs), inputs, **how)["saliency"]
    np.testing.assert_array_equal(found, emulator.run(plan_of(inputs), {**inputs, **nearest}, **how)["saliency"])
    assert np.isfinite(found).all()


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from(["float16", "bfloat16", "float32"]),
    blocks=st.integers(1, 5),
)
def test_indices_out_of_range_are_taken_as_the_nearest(emulator: Emulator, seed: int, dtype: str, blocks: int) -> None:
    check_indices_out_of_range(emulator, np.random.default_rng(seed), dtype, seed=seed, blocks=blocks)
