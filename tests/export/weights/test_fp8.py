"""Matrices of FP8 as floats: what a second implementation says of every byte and every scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clasp_trt.errors import CheckpointError
from clasp_trt.export.graph import Integers
from clasp_trt.export.quantised import Quantised
from clasp_trt.export.weights.fp8 import fp8
from clasp_trt.export.weights.graph import Weights
from clasp_trt.export.weights.stored import Weight
from clasp_trt.export.weights.transforms import cast
from tests import quantised as packer
from tests.mistakes import says

_TYPES = {torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.float8_e8m0fnu: "F8_E8M0"}
SHAPE = (24, 80)
ROWS, WHOLE, TILES = (1, 0), (0, 0), (16, 32)


def read(tensors: packer.Tensors, tile: tuple[int, int] | None = TILES) -> dict[str, Weight]:
    def weight(name: str, tensor: torch.Tensor) -> Weight:
        kind = _TYPES.get(tensor.dtype, str(tensor.dtype).removeprefix("torch."))
        return Weight(f"m.{name}", tuple(tensor.shape), kind, lambda: tensor)

    return fp8(
        {f"m.{name}": weight(name, each) for name, each in tensors.items()}, Quantised("fp8", "e4m3", 8, None, tile)
    )


def matrix(tile: tuple[int, int], **options: Any) -> packer.Eighths:
    """Of a size that tiles do not divide, with every byte that is a number."""
    made = packer.eighths(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32), tile, **options)
    numbers = [code for code in range(256) if code & 0x7F != 0x7F]
    made.codes.reshape(-1)[: len(numbers)] = numbers
    return made


@pytest.mark.parametrize(
    ("tile", "pack"),
    [
        (TILES, {}),
        (TILES, {"form": lambda s: s.to(torch.bfloat16)}),
        (TILES, {"form": lambda s: s.to(torch.float8_e8m0fnu)}),
        (WHOLE, {"scale": "weight_scale", "form": lambda s: s.reshape(()), "input_scale": 2.0}),
        (WHOLE, {"scale": "weight_scale", "form": lambda s: s.reshape(1)}),
        (WHOLE, {}),
        (ROWS, {"scale": "weight_scale", "input_scale_ub": 1200.0}),
        (ROWS, {"scale": "weight_scale", "form": lambda s: s.reshape(-1)}),
        ((1, 16), {"scale": "weight_scale"}),
    ],
)
def test_a_matrix_is_its_bytes_times_their_scales(tile: tuple[int, int], pack: dict[str, Any]) -> None:
    """To the last bit in float32, and rounded from there to the graph's type."""
    made = matrix(tile, powers="form" in pack)  # such as every type of a scale holds
    tensors = read(packer.fp8(made, **pack), TILES if tile == TILES else None)
    assert set(tensors) == {"m.weight"}
    for dtype in ("float32", "float16"):
        found = Weights(cast(tensors, dtype)).tensor("m.weight", SHAPE).numpy()
        np.testing.assert_array_equal(found, made.floats.astype(dtype))


@pytest.mark.parametrize(
    ("tile", "block"), [(WHOLE, None), (ROWS, None), ((48, 0), None), (TILES, 16), ((1, 16), 16), ((5, 40), 0)]
)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_graph_multiplies_by_bytes_and_scales_as_they_are(
    tile: tuple[int, int], block: int | None, dtype: str
) -> None:
    """Scales stay float32 whatever the graph computes in; where no block divides what shares one, it is floats."""
    made = matrix(tile)
    tensors = read(packer.fp8(made), made.tile)
    linear = Weights(cast(tensors, dtype)).linear("m", SHAPE[1], SHAPE[0])
    assert isinstance(linear, Integers) == (block != 0)
    if isinstance(linear, Integers):
        assert linear.block == block
        assert linear.values.numpy().view(np.uint8).T.tolist() == made.codes.tolist()
        scales = linear.scales.numpy() if block is None else linear.scales.numpy().repeat(linear.block or 1, axis=0)
        assert scales.dtype == np.float32
        floats = linear.values.numpy().astype(np.float32) * scales
        np.testing.assert_array_equal(floats, made.floats.T)
        assert (linear.cast is None) == (dtype == "float32")


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("weight_scale_inv", None, ("lacks the tensor m.weight_scale_inv",)),
        ("weight_scale_inv", lambda s: s[:, :-1], ("m.weight_scale_inv", "16 by 32")),
        ("weight_scale_inv", lambda s: s.to(torch.int32), ("m.weight_scale_inv",)),
        ("weight", lambda w: w.float().to(torch.float8_e5m2), ("m.weight", "F8_E5M2", "--quantize int4")),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(part: str, change: Any, said: tuple[str, ...]) -> None:
    tensors = packer.fp8(matrix(TILES))
    if change is None:
        del tensors[part]
    else:
        tensors[part] = change(tensors[part])
    with pytest.raises(CheckpointError) as refused:
        read(tensors)
    says(refused, *said)


@pytest.mark.parametrize("part", ["weight", "weight_scale_inv"])
def test_what_is_no_number_is_refused_by_name(part: str) -> None:
    made = matrix(TILES)
    if part == "weight":
        made.codes[3, 5] = 0xFF
    else:
        made.s[1, 0] = np.inf
    with pytest.raises(CheckpointError) as refused:
        read(packer.fp8(made))["m.weight"].read()
    says(refused, f"m.{part} ", "not finite")
