"""The kernels that narrow a sequence to what is kept, run on the host, against the numpy form of the prune graph."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from clasp_trt.plugins import launch
from tests.engines.kernels.emulator import ARRAY, Array, Emulator
from tests.engines.kernels.test_saliency import FAR


def random_sequence(rng: np.random.Generator) -> dict[str, Array]:
    """Visual tokens anywhere between text, and any choice of them."""
    tokens, text = int(rng.integers(1, 60)), int(rng.integers(0, 30))
    keep, width = int(rng.integers(1, tokens + 1)), int(rng.choice([1, 3, 4, 8, 40, 64, 257]))
    rows = tokens + text
    visual = np.sort(rng.permutation(rows)[:tokens])
    dtype = ARRAY[rng.choice(["float16", "bfloat16", "float32"])]
    return {
        "hidden": rng.standard_normal((1, rows, width)).astype(dtype),
        "position_ids": rng.integers(0, 2**40, (1, rows)),
        "visual_index": visual,
        "kept": np.sort(rng.permutation(tokens)[:keep])[None],
        "reference_index": rng.permutation(np.setdiff1d(np.arange(rows), visual))[: int(rng.integers(0, text + 1))],
    }


def check(emulator: Emulator, inputs: dict[str, Array], seed: int, blocks: int, warps: int) -> None:
    hidden, visual, kept = inputs["hidden"], inputs["visual_index"], inputs["kept"][0]
    stays = np.ones(hidden.shape[1], dtype=np.bool_)
    stays[visual] = False
    stays[visual[kept]] = True
    new_row = np.cumsum(stays) - 1

    plan = launch.prune_rows(
        sequence=hidden.shape[1],
        tokens=len(visual),
        keep=len(kept),
        references=len(inputs["reference_index"]),
        width=hidden.shape[2],
        dtype=str(hidden.dtype),
    )
    out = emulator.run(plan, inputs, seed=seed, blocks=blocks, warps=warps)
    assert out["hidden_out"].tobytes() == hidden[:, stays].tobytes()
    np.testing.assert_array_equal(out["position_ids_out"], inputs["position_ids"][:, stays])
    np.testing.assert_array_equal(out["visual_index_out"], new_row[visual[kept]])
    np.testing.assert_array_equal(out["reference_index_out"], new_row[inputs["reference_index"]])


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**31), blocks=st.integers(1, 5), warps=st.integers(1, 4))
def test_rows(emulator: Emulator, seed: int, blocks: int, warps: int) -> None:
    check(emulator, random_sequence(np.random.default_rng(seed)), seed, blocks, warps)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), batch=st.integers(1, 3), tokens=st.integers(1, 50), blocks=st.integers(1, 5))
def test_gram_of_the_kept(emulator: Emulator, seed: int, batch: int, tokens: int, blocks: int) -> None:
    rng = np.random.default_rng(seed)
    keep = int(rng.integers(1, tokens + 1))
    gram = rng.standard_normal((batch, tokens, tokens)).astype(np.float32)
    kept = np.stack([np.sort(rng.permutation(tokens)[:keep]) for _ in range(batch)])
    out = emulator.run(launch.narrow_gram(batch, tokens, keep), {"gram": gram, "kept": kept}, seed=seed, blocks=blocks)
    for image, choice in enumerate(kept):
        np.testing.assert_array_equal(out["gram_out"][image], gram[image][np.ix_(choice, choice)])


def check_lists_of_any_kind(emulator: Emulator, rng: np.random.Generator, **how: int) -> None:
    """Lists that are not ascending, repeat themselves or point anywhere: the emulator sees every stray write."""
    inputs = random_sequence(rng)
    sequence, tokens, keep = inputs["hidden"].shape[1], len(inputs["visual_index"]), inputs["kept"].shape[1]
    for name in ("visual_index", "kept", "reference_index"):
        shape = inputs[name].shape
        inputs[name] = np.where(rng.random(shape) < 0.5, rng.choice(FAR, shape), rng.integers(0, sequence, shape))
    plan = launch.prune_rows(
        sequence, tokens, keep, len(inputs["reference_index"]), inputs["hidden"].shape[2], str(inputs["hidden"].dtype)
    )
    references = emulator.run(plan, inputs, **how)["reference_index_out"]
    assert ((references >= 0) & (references < sequence - tokens + keep)).all()


def check_gram_of_any_kept(emulator: Emulator, rng: np.random.Generator, **how: int) -> None:
    """The values are those of the nearest legal tokens."""
    tokens, keep = (int(size) for size in np.sort(rng.integers(1, 50, 2))[::-1])
    gram = rng.standard_normal((2, tokens, tokens)).astype(np.float32)
    kept = rng.choice(np.concatenate([FAR, np.arange(tokens)]), (2, keep))
    out = emulator.run(launch.narrow_gram(2, tokens, keep), {"gram": gram, "kept": kept}, **how)["gram_out"]
    for image, choice in enumerate(np.clip(kept, 0, tokens - 1)):
        np.testing.assert_array_equal(out[image], gram[image][np.ix_(choice, choice)])


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**31), blocks=st.integers(1, 5))
def test_indices_out_of_range_lead_nowhere(emulator: Emulator, seed: int, blocks: int) -> None:
    rng = np.random.default_rng(seed)
    check_lists_of_any_kind(emulator, rng, seed=seed, blocks=blocks)
    check_gram_of_any_kept(emulator, rng, seed=seed, blocks=blocks)
