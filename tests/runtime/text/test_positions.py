"""Positions of three axes against the three models that have them, for pictures of several shapes between texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import Qwen2_5_VLConfig, Qwen2VLConfig, Qwen3VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLModel
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

from clasp_trt.bundle.media import Spatial
from clasp_trt.runtime.media.seen import Block
from clasp_trt.runtime.text.positions import positions

MODELS = {Qwen2VLModel: Qwen2VLConfig, Qwen2_5_VLModel: Qwen2_5_VLConfig, Qwen3VLModel: Qwen3VLConfig}
PICTURES = [
    [],
    [(1, 4, 6)],
    [(1, 1, 1), (1, 7, 2)],
    [(1, 3, 9), (1, 2, 2), (1, 12, 5)],
]


def _rows(grids: list[tuple[int, int, int]], texts: list[int]) -> NDArray[np.int64]:
    """1 for each visual token of ``grids``, 0 for each of the ``texts`` around and between them."""
    parts: list[int] = []
    for text, grid in zip(texts, grids, strict=False):
        parts += [0] * text + [1] * int(np.prod(grid))
    return np.array(parts + [0] * texts[-1], np.int64)


def _library(model: Any, kinds: NDArray[np.int64], grids: list[tuple[int, int, int]]) -> tuple[NDArray[np.int64], int]:
    """What ``get_rope_index`` gives; it reads nothing of a model but its config."""
    stub = type("Stub", (), {"config": MODELS[model](), "get_vision_position_ids": model.get_vision_position_ids})()
    patches = torch.tensor([(frames, 2 * rows, 2 * columns) for frames, rows, columns in grids])
    kinds_of = torch.tensor(kinds)[None]
    found, delta = model.get_rope_index(
        stub, torch.ones_like(kinds_of), kinds_of, image_grid_thw=patches if grids else None
    )
    return found[:, 0].numpy(), len(kinds) + int(delta)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@pytest.mark.parametrize("grids", PICTURES, ids=len)
@pytest.mark.parametrize("last", [1, 5])
def test_positions_are_the_librarys(model: Any, grids: list[tuple[int, int, int]], last: int) -> None:
    kinds = _rows(grids, [*[3, 2, 1][: len(grids)], last])
    blocks = [Block(int(np.prod(grid)), grid, np.zeros((int(np.prod(grid)), 4), np.float32)) for grid in grids]
    found, following = positions(Spatial(None), len(kinds), blocks, np.flatnonzero(kinds))
    expected, after = _library(model, kinds, grids)
    np.testing.assert_array_equal(found, expected)
    assert (found.dtype, following) == (np.int64, after)


@pytest.mark.parametrize("model", [Qwen2VLModel, Qwen2_5_VLModel], ids=lambda model: model.__name__)
@pytest.mark.parametrize("seconds", [1.0, 1 / 3, 0.8, 7.5])
@pytest.mark.parametrize("last", [1, 30])
def test_times_of_a_clip_are_the_librarys(model: Any, seconds: float, last: int) -> None:
    """Of frames as they come, and of frames that lie so many positions a second apart."""
    grid = (7, 2, 3)
    kinds = 2 * _rows([grid], [4, last])
    config = MODELS[model]()
    rate = getattr(config.vision_config, "tokens_per_second", None)
    stub = type("Stub", (), {"config": config, "get_vision_position_ids": model.get_vision_position_ids})()
    types = torch.tensor(kinds)[None]
    expected, delta = model.get_rope_index(
        stub, torch.ones_like(types), types, video_grid_thw=torch.tensor([(7, 4, 6)]),
        second_per_grid_ts=torch.tensor([seconds]),
    )  # fmt: skip
    block = Block(42, grid, np.zeros((42, 4), np.float32), seconds=seconds)
    found, following = positions(Spatial(rate), len(kinds), [block], np.flatnonzero(kinds))
    np.testing.assert_array_equal(found, expected[:, 0])
    assert following == len(kinds) + int(delta)
