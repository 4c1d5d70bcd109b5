"""The fused projector against its formulas and the library's own module, column by column."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clasp_trt.export import projector
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.family import Family, family_of
from clasp_trt.export.specs import ProjectorSpec
from tests.export.running import Runnable

MULTIPLE = 4  # of the error of the library's own module in the same precision
LAYERS, TOKENS, WIDTH = 3, 16, 32
Array = NDArray[Any]


@pytest.fixture(scope="module")
def family(checkpoint: Path) -> Family:
    return family_of(Checkpoint.open(checkpoint))


def _library(folder: Path, dtype: str, fused: Array) -> Array:
    """What the checkpoint's own projector makes of ``fused`` ``[batch, tokens, width]``."""
    from transformers import LlavaForConditionalGeneration  # which takes longer to load than the formulas to check

    kind = getattr(torch, dtype)
    model: Any = LlavaForConditionalGeneration.from_pretrained(folder, dtype=kind)
    output: Array = model.model.multi_modal_projector(torch.from_numpy(fused).to(kind)).double().numpy()
    return output


@torch.inference_mode()
def test_formulas() -> None:
    """Eqs. 8 to 10 in float64, before anything is traced: seconds, whatever else waits."""
    rng = np.random.default_rng(2)
    widths, tokens = (5, 7, 6), 4
    module = projector._FusedProjector(ProjectorSpec(widths, "gelu", bias=True)).eval()
    features = rng.standard_normal((2, LAYERS, tokens, widths[0])).astype(np.float32)
    alpha = np.array([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0]], np.float32)
    fused = np.einsum("blnd,bl->bnd", features.astype(np.float64), alpha.astype(np.float64))
    first, second = (
        [each.double().numpy() for each in (linear.weight, linear.bias)]
        for linear in (module.projector.linear_1, module.projector.linear_2)
    )
    hidden = fused @ first[0].T + first[1]
    expected = (hidden * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2))) / 2) @ second[0].T + second[1]
    found = module(torch.from_numpy(features), torch.from_numpy(alpha)).numpy()
    # sums of 5 and 7 numbers in float32
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float16", marks=pytest.mark.full)])
@pytest.mark.parametrize("alpha", [[[0.0, 0.0, 1.0]], [[0.2, 0.5, 0.3], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]])
@torch.inference_mode()
def test_layers_are_fused_by_their_weights_and_projected(
    checkpoint: Path, family: Family, dtype: str, alpha: list[list[float]]
) -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((len(alpha), LAYERS, TOKENS, WIDTH)).astype(dtype)
    weights = np.array(alpha, dtype=np.float32)
    found = Runnable(family.projector_graph(LAYERS, dtype))(features=features, alpha=weights)["visual"]
    fused = np.einsum("blnd,bl->bnd", features.astype(np.float64), weights.astype(np.float64))
    exact, baseline = _library(checkpoint, "float64", fused), _library(checkpoint, dtype, fused)
    assert found.dtype == dtype
    assert found.shape == exact.shape
    assert np.abs(found - exact).max() <= MULTIPLE * np.abs(baseline - exact).max()


@torch.inference_mode()
def test_every_layer_token_and_column_is_in_its_own_place(checkpoint: Path, family: Family) -> None:
    """Other values everywhere but in one place change nothing there, and that place alone follows its own layer."""
    project = Runnable(family.projector_graph(LAYERS, "float32"))
    features = np.random.default_rng(1).standard_normal((1, LAYERS, TOKENS, WIDTH)).astype(np.float32)
    for layer in range(LAYERS):
        alpha = np.eye(LAYERS, dtype=np.float32)[layer][None]
        expected = _library(checkpoint, "float64", features[:, layer])
        found = project(features=features, alpha=alpha)["visual"]
        # 32 products and 48 more of numbers of about 1, in float32
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
        other = features.copy()
        other[:, np.arange(LAYERS) != layer] = 7
        other[:, layer, 5] += 1
        changed = project(features=other, alpha=alpha)["visual"]
        assert (changed == found).all(axis=-1)[0].tolist() == [token != 5 for token in range(TOKENS)]


@torch.inference_mode()
def test_patches_are_merged_as_the_libraries_merge_them() -> None:
    from transformers.models.idefics3.modeling_idefics3 import Idefics3Connector
    from transformers.models.internvl.modeling_internvl import InternVLModel

    rows = torch.arange(2 * 36 * 5.0).reshape(2, 36, 5)
    for merge in (1, 2, 3):
        expected = Idefics3Connector.pixel_shuffle(None, rows, merge)
        assert torch.equal(projector._merged(rows, merge), expected)
    shuffled = InternVLModel.pixel_shuffle(None, rows.reshape(2, 6, 6, 5), 0.5)
    assert torch.equal(projector._merged(rows, 2), shuffled.reshape(2, 9, 20))
