"""What is asked of the kernels, on any device: exact agreement where the contract is exact, else a derived bound."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.ops import GRAM_STEPS, pivot_select, spherical_kmeans, token_gram
from clasp_trt.plugins import launch
from clasp_trt.plugins.launch import Plan
from tests.engines.kernels.emulator import ARRAY, Array
from tests.gpu.harness.cases import Case
from tests.gpu.harness.device import GUARD_BYTES, Device

UNIT = 2.0**-24  # relative error of one float32 operation
SAMPLE = 48  # tokens of an image between which naive sums are tried


def selection_plan(case: Case) -> Plan:
    """Gram matrix, pivots and k-means of ``case`` in one plan."""
    batch = len(case.pivots)
    return launch.chain(
        launch.token_gram(batch, case.tokens, case.width, case.dtype),
        launch.pivot_select(batch, case.tokens, case.keep),
        launch.spherical_kmeans(batch, case.tokens, case.keep),
    )


def selection_inputs(case: Case) -> dict[str, Array]:
    return {"visual": case.visual, "saliency": case.saliency, "pivot_count": case.pivot_count}


def check_selection(device: Device, case: Case, guard: int = GUARD_BYTES) -> tuple[float, float]:
    """Gram matrix within the bound, and everything after it index for index.

    The bound is one step for the grid and three times the error of naive sums in the same precision, which is known for
    some of the pairs alone. Returns both errors in steps: the kernels' and that of naive sums.
    """
    found = device.run(selection_plan(case), selection_inputs(case), seed=case.seed, guard=guard)
    gram = found["gram"]
    expected = token_gram(case.visual)
    np.testing.assert_array_equal(gram, np.swapaxes(gram, 1, 2), "one value in both triangles")
    steps = gram * np.float32(GRAM_STEPS)
    np.testing.assert_array_equal(steps, np.rint(steps), "whole steps")
    diagonal = np.diagonal(gram, axis1=1, axis2=2)
    np.testing.assert_array_equal(diagonal, np.diagonal(expected, axis1=1, axis2=2), "1, or 0 for invalid tokens")
    assert not gram[diagonal == 0].any(), "rows of invalid tokens are zero"
    ours = error_in_steps(gram, expected)
    naive = naive_error_in_steps(case.visual, case.seed)
    assert ours <= 1 + 3 * naive, f"{ours:.0f} steps off, naive sums {naive:.1f}"

    pivots = pivot_select(case.saliency, case.pivot_count, case.keep)
    np.testing.assert_array_equal(found["pivots"], pivots)
    kept, is_pivot = spherical_kmeans(gram, pivots, case.keep)
    np.testing.assert_array_equal(found["kept"], kept)
    np.testing.assert_array_equal(found["is_pivot"], is_pivot)
    return ours, naive


def check_repeats(device: Device, case: Case, runs: int) -> None:
    """The same bits from every run, whatever the workspace holds and over however many blocks."""
    plan, inputs = selection_plan(case), selection_inputs(case)
    first = device.run(plan, inputs, seed=0)
    for run in range(1, runs):
        blocks = None if run % 2 else 1 + 13 * run
        again = device.run(plan, inputs, seed=run, blocks=blocks)
        for name, value in first.items():
            assert again[name].tobytes() == value.tobytes(), f"run {run}: {name} differs"


def check_saliency(device: Device, heads: int, rows: int, tokens: int, dtype: str, guard: int = GUARD_BYTES) -> None:
    """The mean over heads and rows; of positive terms, so that a sum of n is off by at most n units."""
    attention = np.random.default_rng(heads + rows).random((1, heads, rows, tokens)).astype(ARRAY[dtype])
    plan = launch.saliency(1, heads, rows, tokens, dtype)
    found = device.run(plan, {"attention": attention}, seed=tokens, guard=guard)["saliency"]
    exact = attention.astype(np.float64).mean(axis=(1, 2))
    np.testing.assert_allclose(found, exact, rtol=(heads * rows + 1) * UNIT, atol=0)


@dataclass(frozen=True)
class Attention:
    """Sizes of a decoder layer whose last ``references`` rows of ``sequence`` look at ``tokens``, the first rows."""

    heads: int
    key_heads: int
    head_size: int
    sequence: int
    capacity: int
    references: int
    tokens: int

    def __str__(self) -> str:
        return f"{self.heads}h{self.key_heads}x{self.head_size}-{self.sequence}of{self.capacity}"


def check_attention_saliency(device: Device, sizes: Attention, dtype: str, guard: int = GUARD_BYTES) -> None:
    """Against the softmax in float64, within the bound that :mod:`tests.engines.kernels.test_saliency` derives."""
    rng = np.random.default_rng(sizes.sequence)
    shape = (1, sizes.key_heads, sizes.capacity, sizes.head_size)
    key = rng.standard_normal(shape)
    key[:, :, sizes.sequence :] = np.nan  # empty slots
    inputs: dict[str, Array] = {
        "query": rng.standard_normal((1, sizes.heads, sizes.sequence, sizes.head_size)).astype(ARRAY[dtype]),
        "key": key.astype(ARRAY[dtype]),
        "reference_index": np.arange(sizes.sequence - sizes.references, sizes.sequence),
        "visual_index": np.arange(sizes.tokens),
        "write_index": np.array([0]),
    }
    found = device.run(launch.attention_saliency(*astuple(sizes), dtype), inputs, guard=guard)["saliency"][0]
    rows = inputs["query"][0].astype(np.float64)[:, inputs["reference_index"]]
    keys = inputs["key"][0, :, : sizes.sequence].astype(np.float64)
    keys = np.repeat(keys, sizes.heads // sizes.key_heads, axis=0).swapaxes(1, 2) / np.sqrt(sizes.head_size)
    scores, magnitude = rows @ keys, (np.abs(rows) @ np.abs(keys)).max()
    scores[:, np.arange(sizes.sequence)[None] > inputs["reference_index"][:, None]] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    exact = (weights / weights.sum(-1, keepdims=True))[..., : sizes.tokens].mean(axis=(0, 1))
    span = np.ptp(scores[np.isfinite(scores)])
    units = 2 * ((sizes.head_size + 3) * 2 * magnitude + span + 4 + sizes.sequence + sizes.heads * sizes.references)
    np.testing.assert_allclose(found, exact, rtol=float(units * UNIT), atol=2.0**-126)


def check_prune(
    device: Device, sequence: int, tokens: int, keep: int, width: int, dtype: str, guard: int = GUARD_BYTES
) -> None:
    """Kept rows, their positions and new places, and the Gram matrix of the kept tokens, bit for bit."""
    rng = np.random.default_rng(sequence)
    visual = np.sort(rng.permutation(sequence)[:tokens])
    kept = np.sort(rng.permutation(tokens)[:keep])
    text = np.setdiff1d(np.arange(sequence), visual)
    inputs: dict[str, Array] = {
        "hidden": rng.standard_normal((1, sequence, width)).astype(ARRAY[dtype]),
        "position_ids": rng.integers(0, 2**40, (1, sequence)),
        "visual_index": visual,
        "kept": kept[None],
        "reference_index": text[len(text) // 2 :],
    }
    stays = np.ones(sequence, dtype=np.bool_)
    stays[np.delete(visual, kept)] = False
    new_row = np.cumsum(stays) - 1
    plan = launch.prune_rows(sequence, tokens, keep, len(inputs["reference_index"]), width, dtype)
    found = device.run(plan, inputs, seed=keep, guard=guard)
    assert found["hidden_out"].tobytes() == inputs["hidden"][:, stays].tobytes()
    np.testing.assert_array_equal(found["position_ids_out"], inputs["position_ids"][:, stays])
    np.testing.assert_array_equal(found["visual_index_out"], new_row[visual[kept]])
    np.testing.assert_array_equal(found["reference_index_out"], new_row[inputs["reference_index"]])

    gram = rng.standard_normal((1, tokens, tokens)).astype(np.float32)
    narrow = device.run(launch.narrow_gram(1, tokens, keep), {"gram": gram, "kept": kept[None]}, guard=guard)
    np.testing.assert_array_equal(narrow["gram_out"][0], gram[0][np.ix_(kept, kept)])


def error_in_steps(gram: NDArray[np.generic], expected: NDArray[np.floating[Any]]) -> float:
    return float(np.abs(gram.astype(np.float64) - expected).max() * GRAM_STEPS)


def naive_error_in_steps(x: Array, seed: int) -> float:
    """Largest error of cosines between some of the tokens when every sum has one float32 accumulator, in order.

    It rounds as the unit does that adds: tensor cores, which take 16-bit tokens, cut off.
    """
    sample = np.random.default_rng(seed)
    rows = np.zeros((len(x), SAMPLE, x.shape[2]))  # of images with fewer valid tokens the last ones stay zero
    for image, some in zip(x.astype(np.float64), rows, strict=True):
        valid = np.flatnonzero(np.isfinite(image).all(-1) & (image != 0).any(-1))
        chosen = image[sample.permutation(valid)[:SAMPLE]]
        # by a power of two, so that squares stay in range
        some[: len(chosen)] = np.ldexp(chosen, -np.frexp(np.abs(chosen).max(-1, keepdims=True))[1])
    found = _cosines(_summed(rows, cut_off=x.dtype.itemsize == 2))
    return error_in_steps(found, _cosines(rows @ rows.swapaxes(1, 2)))


def _summed(rows: NDArray[np.float64], cut_off: bool) -> NDArray[np.float64]:
    """``rows @ rows.T`` of each image, one product after another added to a float32."""
    total = np.zeros((len(rows), rows.shape[1], rows.shape[1]), dtype=np.float32)
    for column in np.ascontiguousarray(np.moveaxis(rows, 2, 0)):
        exact = total + column[:, :, None] * column[:, None]
        total = exact.astype(np.float32)
        if cut_off:
            away = np.abs(total) > np.abs(exact)
            total[away] = np.nextafter(total[away], np.float32(0))
    return total.astype(np.float64)


def _cosines(products: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.sqrt(np.diagonal(products, axis1=1, axis2=2))
    scale = length[:, :, None] * length[:, None]
    return np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
