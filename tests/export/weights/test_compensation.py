"""GPTQ against the definition: OBS, one input after the other, each taken out of the inverse by elimination."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clasp_trt.export.weights.compensation import Compensated, compensated
from tests.rounding import floats, rounded


def correlated(rows: int, inputs: int, seed: int) -> NDArray[np.float64]:
    """Rows whose inputs go together, as those of a real layer do, in float32's numbers."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((rows, inputs // 4)) @ rng.standard_normal((inputs // 4, inputs))
    return (mixed + 0.3 * rng.standard_normal((rows, inputs))).astype(np.float32).astype(np.float64)


def weights(outputs: int, inputs: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((outputs, inputs)).astype(np.float32)


def scale_of(part: NDArray[np.float64], weigh: NDArray[np.float64], most: int, kind: Any) -> Any:
    best, found = np.inf, kind(1)
    for step in range(21):
        scale = kind(np.abs(part).max() * (1 - step / 40) / most) or kind(1)
        whole = np.clip(np.rint(part / float(scale)), -most, most) * float(scale)
        error = float(((whole - part) ** 2 * weigh).sum())
        if error < best:
            best, found = error, scale
    return found


def reference(
    matrix: NDArray[np.float32], gram: NDArray[np.float64], bits: int, block: int | None, kind: Any = np.float32
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Row by row and input by input; what an input cannot hold goes to those after it."""
    outputs, inputs = matrix.shape
    most, width = 2 ** (bits - 1) - 1, block or inputs
    diagonal = gram.diagonal()
    damped = gram + np.diag(np.where(diagonal == 0, 1.0, 0.0) + 0.01 * diagonal.mean())
    values, scales = np.zeros((outputs, inputs), np.int64), np.zeros((outputs, inputs // width), kind)
    for row in range(outputs):
        left, inverse = matrix[row].astype(np.float64), np.linalg.inv(damped)
        for number in range(inputs):
            if number % width == 0:
                part = slice(number, number + width)
                scales[row, number // width] = scale_of(left[part], diagonal[part], most, kind)
            scale = float(scales[row, number // width])
            values[row, number] = np.clip(np.rint(left[number] / scale), -most, most)
            error = (left[number] - values[row, number] * scale) / inverse[number, number]
            left -= error * inverse[number]
            inverse -= np.outer(inverse[:, number], inverse[number]) / inverse[number, number]
    return values, scales


def made(
    matrix: NDArray[np.float32], gram: NDArray[np.float64], bits: int, block: int | None, **how: Any
) -> Compensated:
    return compensated(torch.from_numpy(matrix), torch.from_numpy(gram), bits, block, how.get("dtype", torch.float32))


@pytest.mark.parametrize(
    ("bits", "block", "inputs"), [(4, 32, 64), (4, 16, 48), (8, None, 40), (4, 128, 256), (4, 32, 160)], ids=str
)
def test_every_integer_and_scale_is_that_of_the_definition(bits: int, block: int | None, inputs: int) -> None:
    matrix, rows = weights(5, inputs, 1), correlated(3 * inputs, inputs, 2)
    gram = rows.T @ rows
    values, scales = reference(matrix, gram, bits, block)
    found = made(matrix, gram, bits, block)
    np.testing.assert_array_equal(found.values.numpy(), values)
    np.testing.assert_array_equal(found.scales.numpy(), scales)


def test_scales_are_of_the_type_of_the_graph() -> None:
    matrix, rows = weights(4, 64, 3), correlated(100, 64, 4)
    gram = rows.T @ rows
    values, scales = reference(matrix, gram, 4, 32, np.float16)
    found = made(matrix, gram, 4, 32, dtype=torch.float16)
    np.testing.assert_array_equal(found.scales.numpy(), scales)
    np.testing.assert_array_equal(found.values.numpy(), values)


@pytest.mark.parametrize(("bits", "block"), [(4, 32), (4, 128), (8, None)], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_products_with_rows_like_those_change_less_than_by_the_nearest(bits: int, block: int | None, seed: int) -> None:
    matrix, rows = weights(24, 128, seed), correlated(900, 128, 10 + seed)
    seen, others = rows[:600], rows[600:]
    found = made(matrix, seen.T @ seen, bits, block)

    def change(whole: NDArray[np.float32]) -> float:
        return float(np.square(others @ (whole - matrix).T.astype(np.float64)).sum())

    nearest = change(floats(*rounded(matrix, bits, block)))
    assert change(floats(found.values.numpy(), found.scales.numpy())) < 0.6 * nearest


def test_inputs_that_no_row_has_are_rounded_by_themselves() -> None:
    """And so are all where none was seen: nothing is divided by nothing."""
    matrix, rows = weights(6, 64, 5), correlated(300, 64, 6)
    rows[:, 32:] = 0
    found = made(matrix, rows.T @ rows, 4, 32)
    whole = floats(found.values.numpy(), found.scales.numpy())
    alone = made(matrix, np.zeros((64, 64)), 4, 32)
    np.testing.assert_array_equal(found.values.numpy()[:, 32:], alone.values.numpy()[:, 32:])
    np.testing.assert_array_equal(alone.values.numpy(), rounded(matrix, 4, 32)[0])
    assert np.isfinite(whole).all()


def test_a_block_of_zeros_stays_zeros() -> None:
    matrix, rows = weights(4, 64, 7), correlated(200, 64, 8)
    matrix[1] = 0
    found = made(matrix, rows.T @ rows, 4, 32)
    assert not found.values[1].any()
    assert (found.scales[1] == 1).all()


def test_a_matrix_and_its_sum_stay_as_they_are() -> None:
    matrix, rows = torch.from_numpy(weights(4, 32, 9)), torch.from_numpy(correlated(90, 32, 10))
    gram = rows.T @ rows
    before = matrix.clone(), gram.clone()
    compensated(matrix, gram, 4, 32, torch.float32)
    assert torch.equal(matrix, before[0])
    assert torch.equal(gram, before[1])
