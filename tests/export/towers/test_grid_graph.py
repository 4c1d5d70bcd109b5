"""Every tower of a grid of patches against transformers' own: what it makes of pictures of any shape."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoConfig
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl
from transformers.models.qwen2_vl import modeling_qwen2_vl
from transformers.models.qwen3_vl import modeling_qwen3_vl

from clasp_trt.bundle import Grid
from clasp_trt.export.config import Settings
from clasp_trt.export.merger import merger_graph
from clasp_trt.export.towers.grid import GridSpec
from clasp_trt.export.towers.grid_configs import QWEN2_5_VL, QWEN2_VL, QWEN3_VL, grid_tower
from clasp_trt.export.towers.grid_graph import grid_graph
from clasp_trt.export.weights.graph import Weights
from clasp_trt.export.weights.stored import Weight
from clasp_trt.export.weights.transforms import cast, flattened
from clasp_trt.runtime.media.processors.grid import GridProcessor
from tests.export.running import Runnable
from tests.towers import Watched

MULTIPLE = 4  # of the error of the library's own modules in the same precision
PIXELS = (28 * 28, 64 * 28 * 28)
COMMON = {"depth": 4, "num_heads": 2, "patch_size": 14}
KINDS = {
    "qwen2_vl_vision": (QWEN2_VL, {**COMMON, "embed_dim": 32, "hidden_size": 48, "mlp_ratio": 2}),
    "qwen2_5_vl_vision": (
        QWEN2_5_VL,
        {
            **COMMON,
            "hidden_size": 32,
            "intermediate_size": 40,
            "out_hidden_size": 48,
            "fullatt_block_indexes": [1, 3],
            "window_size": 112,
        },
    ),
    "qwen3_vl_vision": (
        QWEN3_VL,
        {
            **COMMON,
            "hidden_size": 32,
            "intermediate_size": 40,
            "out_hidden_size": 48,
            "num_position_embeddings": 36,
            "deepstack_visual_indexes": [0, 2],
        },
    ),
}
MODELS = {
    "qwen2_vl_vision": (modeling_qwen2_vl, "Qwen2VisionTransformerPretrainedModel"),
    "qwen2_5_vl_vision": (modeling_qwen2_5_vl, "Qwen2_5_VisionTransformerPretrainedModel"),
    "qwen3_vl_vision": (modeling_qwen3_vl, "Qwen3VLVisionModel"),
}
SHAPES = {"one token": (28, 28), "one window": (112, 112), "odd": (308, 140), "wide": (28, 560), "exact": (224, 224)}
RENAMED = {"ln_q": "norm", "mlp.0": "linear_1", "mlp.2": "linear_2", "linear_fc1": "linear_1", "linear_fc2": "linear_2"}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _spec(kind: str, **changes: Any) -> GridSpec:
    found, sizes = KINDS[kind]
    return grid_tower(Settings("config.json", "", {**sizes, **changes}, {}), found, PIXELS)


def _library(kind: str) -> Any:
    """transformers' tower with weights that no test can ignore, biases among them."""
    torch.manual_seed(0)
    module, name = MODELS[kind]
    config = AutoConfig.for_model(kind, **KINDS[kind][1])
    config._attn_implementation = "eager"
    tower: Any = getattr(module, name)(config).eval()
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return tower


def _weights(tower: Any, dtype: str) -> Weights:
    found = {}
    for name, value in tower.state_dict().items():
        canonical = f"tower.{name}"
        if name.startswith("merger."):
            module, _, part = name.removeprefix("merger.").rpartition(".")
            canonical = f"projector.{RENAMED.get(module, module)}.{part}"
        found[canonical] = Weight(name, tuple(value.shape), "float32", partial(torch.clone, value))
    return Weights(cast(flattened(found, "tower.patch_embed.proj.weight"), dtype))


def _seen(spec: GridSpec, shape: tuple[int, int], frames: int = 1) -> dict[str, NDArray[Any]]:
    """The inputs of a vision graph, as the runtime makes them of noise of that height and width."""
    geometry = spec.patching
    record = Grid(
        geometry.patch, geometry.merge, spec.time, *PIXELS, "bicubic", 1 / 255, (0.5,) * 3, (0.25,) * 3,
        geometry.window, spec.table,
    )  # fmt: skip
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = dict(GridProcessor(record)(Image.fromarray(pixels)).vision)
    patches = found["patches"]
    more = [patches * (1 - number / 4) for number in range(frames)]
    return {**found, "patches": np.concatenate(more)}


def _watched(kind: str, seen: Mapping[str, NDArray[Any]], dtype: torch.dtype) -> Watched:
    frames, _, numbers = seen["patches"].shape
    rows, columns = (int(axis.max()) + 1 for axis in seen["positions"])
    patches = torch.from_numpy(seen["patches"]).to(dtype).reshape(-1, numbers)
    return Watched(_library(kind).to(dtype), patches, (frames, rows, columns))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_tokens_and_states(kind: str, shape: tuple[int, int]) -> None:
    _agrees(kind, _seen(_spec(kind), shape), "float32")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_frames_of_a_clip_are_a_batch(kind: str, dtype: str) -> None:
    _agrees(kind, _seen(_spec(kind), (140, 84), frames=3), dtype)


def _agrees(kind: str, seen: dict[str, NDArray[Any]], dtype: str) -> None:
    layers, spec = (0, 1, 2, 4), _spec(kind)
    weights = _weights(_library(kind), dtype)
    found = Runnable(grid_graph(spec, layers, weights, dtype))(**seen)
    projector = Runnable(merger_graph(spec.merger, len(layers), weights, dtype))
    alpha = np.array([[0, 0, 0, 1]], np.float32)
    made = projector(features=found["features"], alpha=alpha, cls_saliency=found["cls_saliency"])
    near, exact = _watched(kind, seen, getattr(torch, dtype)), _watched(kind, seen, torch.float64)
    for place, layer in enumerate(layers):
        _close(found["features"][:, place], near.states[layer], exact.states[layer])
    _close(made["visual"][0], near.tokens, exact.tokens)
    for number, tokens in enumerate(exact.stacked):
        _close(found["deepstack"][number], near.stacked[number], tokens)
    _close(found["cls_saliency"], near.received[4], exact.received[4], np.finfo(dtype).eps)
    saliency = found["cls_saliency"].reshape(-1, 4).mean(1)
    np.testing.assert_allclose(made["token_saliency"][0], saliency, rtol=1e-6)


def _close(found: NDArray[Any], near: torch.Tensor, exact: torch.Tensor, least: float = 0.0) -> None:
    assert found.shape == exact.shape
    allowed = MULTIPLE * max((near - exact).abs().max().item(), least * exact.abs().max().item())
    assert (torch.from_numpy(found) - exact).abs().max() <= allowed
