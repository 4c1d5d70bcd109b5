"""Every kind of tower against transformers' own: hidden states as it counts them, and the saliency of the patches."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModel

from clasp_trt.export.config import Settings
from clasp_trt.export.towers.configs import TOWERS
from clasp_trt.export.towers.graph import tower_graph
from clasp_trt.export.weights.graph import Weights
from clasp_trt.export.weights.stored import Weight
from clasp_trt.export.weights.transforms import cast
from tests.export.running import Runnable

MULTIPLE = 4  # of the error of the library's own modules in the same precision
LAYERS = (0, 1, 2)
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 42, "patch_size": 14}
pytestmark = pytest.mark.usefixtures("tracer")


@pytest.fixture(params=[pytest.param(kind, marks=() if "siglip" in kind else pytest.mark.full) for kind in TOWERS])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def library(kind: str, sizes: dict[str, int] = SIZES) -> Any:
    """transformers' tower with weights that no test can ignore, layer scales and biases among them."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **sizes)
    tower: Any = AutoModel.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return tower


@torch.inference_mode()
def _seen(tower: Any, pixels: NDArray[np.float32], dtype: torch.dtype) -> tuple[list[Any], Any]:
    """All hidden states of the patches, and their saliency in the last block."""
    output = tower.to(dtype)(torch.from_numpy(pixels).to(dtype), output_hidden_states=True, output_attentions=True)
    states, attention = [state.double().numpy() for state in output.hidden_states], output.attentions[-1].double()
    if states[0].shape[1] == 9:  # no [CLS]: every patch attends
        return states, attention.mean((1, 2)).numpy()
    return [state[:, 1:] for state in states], attention.mean(1)[:, 0, 1:].numpy()


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float16", marks=pytest.mark.full)])
def test_states_and_saliency(kind: str, dtype: str) -> None:
    tower = library(kind)
    tensors = {
        f"tower.{name}": Weight(name, tuple(value.shape), "float32", partial(torch.clone, value))
        for name, value in tower.state_dict().items()
    }
    spec = TOWERS[kind](Settings("config.json", "", SIZES, {}), -1)
    graph = Runnable(tower_graph(spec, LAYERS, Weights(cast(tensors, dtype)), dtype))
    pixels = np.random.default_rng(1).standard_normal((2, 3, 42, 42)).astype(np.float32)
    found = graph(pixel_values=pixels)
    near, near_saliency = _seen(tower, pixels, getattr(torch, dtype))
    exact, saliency = _seen(library(kind), pixels, torch.float64)
    for place, layer in enumerate(LAYERS):
        allowed = MULTIPLE * np.abs(near[layer] - exact[layer]).max()
        assert np.abs(found["features"][:, place] - exact[layer]).max() <= allowed
    assert found["cls_saliency"].shape == (2, 9)
    allowed = MULTIPLE * max(np.abs(near_saliency - saliency).max(), np.finfo(dtype).eps * saliency.max())
    assert np.abs(found["cls_saliency"] - saliency).max() <= allowed


def test_a_tower_s_saliency_says_where_it_is_from(kind: str) -> None:
    spec = TOWERS[kind](Settings("config.json", "", SIZES, {}), -1)
    assert spec.saliency == ("received" if kind == "siglip_vision_model" else "cls")
    assert spec.rows == 9 + (spec.saliency == "cls")
