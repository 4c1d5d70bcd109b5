"""The traced CLIP tower against the library's own modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray
from transformers import LlavaForConditionalGeneration

from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.family import Family, family_of
from tests.export.running import Runnable

MULTIPLE = 4  # of the error of the library's own modules in the same precision
Array = NDArray[Any]


@pytest.fixture(scope="module")
def family(checkpoint: Path) -> Family:
    return family_of(Checkpoint.open(checkpoint))


def _library(folder: Path, dtype: str) -> Any:
    model: Any = LlavaForConditionalGeneration.from_pretrained(
        folder, attn_implementation="eager", dtype=getattr(torch, dtype)
    )
    return model.eval().model


@torch.inference_mode()
def _seen(folder: Path, dtype: str, pixels: Array) -> tuple[list[Array], list[Array]]:
    """All hidden states without [CLS], and for each block the attention of [CLS] to the patches, mean over heads."""
    tower = _library(folder, dtype).vision_tower
    inputs = torch.from_numpy(pixels).to(getattr(torch, dtype))
    output = tower(inputs, output_hidden_states=True, output_attentions=True)
    states = [state[:, 1:].double().numpy() for state in output.hidden_states]
    return states, [weights.double().mean(1)[:, 0, 1:].numpy() for weights in output.attentions]


def _close(found: Array, exact: Array, baseline: Array) -> None:
    assert found.shape == exact.shape
    assert np.abs(found - exact).max() <= MULTIPLE * np.abs(baseline - exact).max()


@pytest.mark.full
@pytest.mark.parametrize(
    ("dtype", "layers", "saliency_layer"),
    [
        ("float32", (0, 1, 3), 3),
        ("float32", (0,), 1),
        ("float32", (1, 4), 3),
        ("float16", (2,), 2),
        ("float16", (0, 1, 3), 3),
    ],
)
def test_tower(checkpoint: Path, family: Family, dtype: str, layers: tuple[int, ...], saliency_layer: int) -> None:
    """The tower reads its own feature layer, 3 of 4, for [CLS], or the deepest that is exported anyway."""
    tower = Runnable(family.vision_graph(layers, dtype))
    for batch in (1, 3):
        pixels = np.random.default_rng(batch).standard_normal((batch, 3, 56, 56)).astype(np.float32)
        found = tower(pixel_values=pixels)
        (states, attention), (near_states, near_attention) = (
            _seen(checkpoint, kind, pixels) for kind in ("float64", dtype)
        )
        assert found["features"].dtype == dtype
        assert found["cls_saliency"].dtype == np.float32
        for place, layer in enumerate(layers):
            _close(found["features"][:, place], states[layer], near_states[layer])
        _close(found["cls_saliency"], attention[saliency_layer - 1], near_attention[saliency_layer - 1])


@pytest.mark.full
def test_layers_that_nobody_reads_are_not_exported(family: Family) -> None:
    shallow, deep = (_weights(family.vision_graph(layers, "float32")) for layers in ((0,), (1, 4)))
    assert {name.split("layers.")[1][0] for name in shallow if "encoder.layers." in name} == {"0"}
    assert {name.split("layers.")[1][0] for name in deep if "encoder.layers." in name} == {"0", "1", "2", "3"}
    assert not [name for name in deep if "post_layernorm" in name], "no hidden state has passed it"


def _weights(model: ir.Model) -> set[str]:
    return {name for name in model.graph.initializers if name.startswith("tower.")}
