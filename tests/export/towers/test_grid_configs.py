"""A ``vision_config`` of a grid's tower: defaults and parameters are those of transformers, the rest is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from clasp_trt.errors import CheckpointError
from clasp_trt.export.config import Settings
from clasp_trt.export.towers.grid import GridSpec
from clasp_trt.export.towers.grid_configs import QWEN2_5_VL, QWEN2_VL, QWEN3_VL, Kind, grid_tower
from tests.export.towers.test_grid_graph import MODELS
from tests.mistakes import says

KINDS = {"qwen2_vl_vision": QWEN2_VL, "qwen2_5_vl_vision": QWEN2_5_VL, "qwen3_vl_vision": QWEN3_VL}
PIXELS = (3136, 1003520)


def _tower(kind: Kind, **config: Any) -> GridSpec:
    return grid_tower(Settings("config.json", "vision_config.", config, {}), kind, PIXELS)


@pytest.mark.parametrize("name", KINDS)
def test_defaults_are_those_of_transformers(name: str) -> None:
    whole = json.loads(AutoConfig.for_model(name).to_json_string(use_diff=False))
    assert _tower(KINDS[name]) == _tower(KINDS[name], **whole)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"depth": 26, "num_heads": 8, "hidden_size": 1024, "patch_size": 16},
        {"depth": 30, "num_hidden_layers": 25, "num_attention_heads": 8},
    ],
    ids=str,
)
def test_parameters_are_those_of_transformers(name: str, given: dict[str, Any]) -> None:
    module, model = MODELS[name]
    with torch.device("meta"):
        tower = getattr(module, model)(AutoConfig.for_model(name, **given))
    found = _tower(KINDS[name], **given)
    assert found.parameters + found.merger.parameters == tower.num_parameters()
    assert (found.layers, found.heads) == (len(tower.blocks), tower.blocks[0].attn.num_heads)


def test_windows_are_whole_tokens() -> None:
    """Half a token at the edge of 120 pixels is in the next window, as in transformers."""
    assert _tower(QWEN2_5_VL).patching.window == 8
    assert _tower(QWEN2_5_VL, window_size=120).patching.window == 8
    assert _tower(QWEN2_VL).patching.window is None


@pytest.mark.parametrize(("layers", "block"), [((32,), 32), ((31, 5), 24), ((8,), 8), ((3, 7), 8), ((0,), 8)], ids=str)
def test_saliency_is_of_a_block_that_sees_the_whole_picture(layers: tuple[int, ...], block: int) -> None:
    assert _tower(QWEN2_5_VL).saliency_layer(layers) == block


def test_where_every_block_does_it_is_the_deepest() -> None:
    assert _tower(QWEN2_VL).saliency_layer((3, 9)) == 9


@pytest.mark.parametrize(
    ("kind", "given", "facts"),
    [
        (QWEN2_VL, {"in_channels": 1}, ("in_channels", 1, 3)),
        (QWEN2_VL, {"num_heads": 7}, ("num_heads", 7, 1280)),
        (QWEN2_VL, {"embed_dim": 96, "num_heads": 16}, ("num_heads", 16, 96)),
        (QWEN2_VL, {"hidden_act": "relu"}, ("hidden_act", "relu", "quick_gelu")),
        (QWEN2_VL, {"temporal_patch_size": [2, 2]}, ("temporal_patch_size",)),
        (QWEN2_VL, {"rope_parameters": {"rope_type": "yarn"}}, ("rope_type", "yarn")),
        (QWEN2_5_VL, {"fullatt_block_indexes": []}, ("fullatt_block_indexes",)),
        (QWEN2_5_VL, {"fullatt_block_indexes": [32]}, ("fullatt_block_indexes", 32)),
        (QWEN2_5_VL, {"fullatt_block_indexes": [-1]}, ("fullatt_block_indexes", -1)),
        (QWEN2_5_VL, {"fullatt_block_indexes": None}, ("fullatt_block_indexes",)),
        (QWEN2_5_VL, {"window_size": 27}, ("window_size", 27, 28)),
        (QWEN3_VL, {"num_position_embeddings": 2305}, ("num_position_embeddings", 2305)),
        (QWEN3_VL, {"deepstack_visual_indexes": [5, 5]}, ("deepstack_visual_indexes", 5)),
        (QWEN3_VL, {"deepstack_visual_indexes": [27]}, ("deepstack_visual_indexes", 27)),
    ],
)
def test_towers_that_cannot_be_compiled(kind: Kind, given: dict[str, Any], facts: tuple[object, ...]) -> None:
    with pytest.raises(CheckpointError) as refused:
        _tower(kind, **given)
    says(refused, "vision_config.", *facts)
