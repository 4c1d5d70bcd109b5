"""Which weights go, and that those stay zeros through every rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from clasp_trt.errors import CheckpointError, SparsityError
from clasp_trt.export.quantised import Quantised
from clasp_trt.export.weights.compensation import compensated
from clasp_trt.export.weights.gptq import gptq
from clasp_trt.export.weights.masks import ByMagnitude, KeptMask, mask, masked, matrices
from clasp_trt.export.weights.packing import unpacked
from clasp_trt.export.weights.rounding import rounded
from clasp_trt.export.weights.stored import Weight
from clasp_trt.quantization import INT8
from clasp_trt.quantization import parse as quantization
from clasp_trt.sparsity import parse
from tests import quantised as packer
from tests.export.weights.test_compensation import correlated
from tests.mistakes import says

NAME = "decoder.layers.0.mlp.up_proj.weight"


def weights(outputs: int = 12, inputs: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed))


def tensors(matrix: torch.Tensor) -> dict[str, Weight]:
    return {NAME: Weight("disk", tuple(matrix.shape), "float32", lambda: matrix)}


@pytest.mark.parametrize("asked", ["0.5", "0.3", "0.95", "2:4", "4:8"])
@pytest.mark.parametrize("kind", ["random", "alike", "steps"])
def test_the_least_of_every_output_go(asked: str, kind: str) -> None:
    scores = {"random": weights(), "alike": torch.ones(12, 64), "steps": weights().mul(2).round()}[kind]
    sparsity, found = parse(asked), mask(scores, parse(asked))
    run = 64 if sparsity.pattern is None else sparsity.pattern[1]
    count = round(64 * sparsity.share) if sparsity.pattern is None else sparsity.pattern[0]
    for row, gone in zip(scores.tolist(), found.tolist(), strict=True):
        for first in range(0, 64, run):
            places = range(first, first + run)
            least = sorted(places, key=lambda place: (row[place], place))[:count]
            assert [place for place in places if gone[place]] == sorted(least)


def test_a_share_of_its_own() -> None:
    assert mask(weights(), parse("0.5"), 0.25).sum(1).tolist() == [16] * 12
    assert mask(weights(), parse("2:4"), 0.25).sum(1).tolist() == [32] * 12, "patterns have none"


@pytest.mark.parametrize("scheme", ["decoder=int8", "decoder=int4:32", "decoder=int4"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_zero_stays_one_when_weights_are_rounded(scheme: str, dtype: str) -> None:
    matrix = weights(inputs=128)
    sparsity = parse("2:4,magnitude")
    gone = mask(matrix.abs(), sparsity)
    (made,) = rounded(masked(tensors(matrix), {NAME: ByMagnitude(sparsity)}), quantization(scheme)).values()
    assert made.packing is not None
    values, floats = torch.from_numpy(made.packing.values(dtype)), unpacked(made.packing, dtype)
    assert bool((values[gone] == 0).all())
    assert bool((floats[gone] == 0).all())
    assert bool((values.reshape(-1, 4) == 0).sum(1).ge(2).all())
    assert float((values != 0).float().mean()) > 0.4, "what stays is not all rounded away"


def test_a_zero_stays_one_when_rounding_makes_up_for_it() -> None:
    matrix, rows = weights(inputs=64), torch.from_numpy(correlated(200, 64, 1))
    gone = mask(matrix.abs(), parse("2:4"))
    gram = rows.T @ rows
    for bits, block in ((4, 32), (8, None)):
        made = compensated(matrix, gram, bits, block, torch.float32, gone)
        assert bool((made.values[gone] == 0).all())
        after = made.values.view(12, made.scales.shape[1], -1).double() * made.scales.double()[..., None]
        plain = compensated(matrix.masked_fill(gone, 0), gram, bits, block, torch.float32, gone)
        other = plain.values.view(12, plain.scales.shape[1], -1).double() * plain.scales.double()[..., None]

        def off(found: torch.Tensor) -> float:
            return float((rows @ (found.reshape(12, 64) - matrix.double()).T).square().sum())

        assert off(after) < 0.8 * off(other), "what is zero is made up for as well"


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_zero_of_integers_with_zero_points_is_exact(symmetric: bool) -> None:
    """A sparse checkpoint that was quantised elsewhere: an integer at its zero point is 0, whatever the scale."""
    matrix = weights(24, 128).masked_fill(mask(weights(24, 128).abs(), parse("2:4")), 0)
    found = packer.quantised(matrix.numpy(), 4, 32, symmetric=symmetric)
    held = {
        name: Weight(name, tuple(each.shape), "I32" if each.dtype == torch.int32 else "float32", lambda each=each: each)
        for name, each in ((f"m.{part}", tensor) for part, tensor in packer.gptq(found).items())
    }
    packing = gptq(held, Quantised("gptq", "gptq", None, INT8))["m.weight"].packing
    assert packing is not None
    assert packing.has_zeros is not symmetric
    assert bool((unpacked(packing, "float32")[matrix == 0] == 0).all())


def test_masks_that_are_kept_come_back(tmp_path: Path) -> None:
    matrix, kept = weights(5, 13), KeptMask(tmp_path, NAME, (5, 13))
    gone = mask(matrix.abs(), parse("0.4"))
    kept.keep(gone)
    made = masked({**tensors(matrix), "other": tensors(matrix)[NAME]}, {NAME: kept})
    torch.testing.assert_close(made[NAME].read(), torch.where(gone, 0.0, matrix), rtol=0, atol=0)
    assert made["other"].read() is matrix


@pytest.mark.parametrize(
    ("change", "asked", "facts"),
    [
        ({"shape": (12, 66)}, "2:4", ["disk", 66, 4, "--sparsity 0.5"]),
        ({"dtype": "I8"}, "0.5", ["disk", "quantised already", "--quantize"]),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_by_name(change: dict[str, Any], asked: str, facts: list[Any]) -> None:
    plain = {"key": "disk", "shape": (12, 64), "dtype": "float32", "read": weights, **change}
    with pytest.raises(SparsityError) as error:
        list(matrices({NAME: Weight(**plain)}, parse(asked)))
    says(error, *facts)


def test_matrices_are_those_of_the_decoders_layers() -> None:
    names = ("decoder.layers.0.input_layernorm.weight", "decoder.lm_head.weight", "tower.layers.0.q_proj.weight")
    others = {name: Weight(name, (64,) if "norm" in name else (12, 64), "float32", weights) for name in names}
    assert [name for name, _ in matrices({**others, **tensors(weights())}, parse("2:4"))] == [NAME]


def test_values_that_are_not_finite_are_refused_by_name() -> None:
    matrix = weights()
    matrix[3, 4] = torch.nan
    with pytest.raises(CheckpointError) as error:
        masked(tensors(matrix), {NAME: ByMagnitude(parse("0.5,magnitude"))})[NAME].read()
    says(error, "disk", "not finite", "--sparsity")
