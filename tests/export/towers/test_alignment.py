"""Layers of different grids are laid onto one before they are fused: the operation, and a toy tower that merges."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from clasp_trt.chain import port
from clasp_trt.export.config import Settings
from clasp_trt.export.towers import graph, reference
from clasp_trt.export.towers.alignment import aligned
from clasp_trt.export.towers.anatomy import Anatomy, Attention
from clasp_trt.export.towers.configs import TOWERS
from clasp_trt.export.towers.spec import TowerSpec
from clasp_trt.export.weights.graph import Weights
from clasp_trt.export.weights.stored import Weight
from clasp_trt.export.weights.transforms import cast
from tests.export.running import Runnable

WIDTH, HEADS, SIDE = 16, 2, 32
LAYERS = (0, 2, 3, 4)


@pytest.mark.parametrize(("side", "wanted"), [(6, 3), (6, 2), (4, 4), (2, 6)])
def test_a_place_has_the_mean_of_its_patches_or_the_patch_that_covers_it(side: int, wanted: int) -> None:
    rows = np.random.default_rng(0).standard_normal((2, side * side, 5))
    found = aligned(torch.from_numpy(rows), wanted * wanted).numpy().reshape(2, wanted, wanted, 5)
    grid = rows.reshape(2, side, side, 5)
    for row in range(wanted):
        for column in range(wanted):
            across = [
                slice(place * side // wanted, max(1, side // wanted) + place * side // wanted)
                for place in (row, column)
            ]
            np.testing.assert_allclose(found[:, row, column], grid[:, across[0], across[1]].mean((1, 2)), atol=1e-12)


@pytest.mark.parametrize(("rows", "count"), [(8, 4), (25, 4), (16, 8)])
def test_grids_that_do_not_fit(rows: int, count: int) -> None:
    with pytest.raises(ValueError, match=f"{rows} patches"):
        aligned(torch.zeros(1, rows, 3), count)


class Block(torch.nn.Module):
    """An attention and a residual; ``merges``: four patches become one before it."""

    def __init__(self, *, merges: bool) -> None:
        super().__init__()
        self.merge = torch.nn.Linear(4 * WIDTH, WIDTH) if merges else None
        self.query, self.key, self.value = (torch.nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def merged(self, hidden: torch.Tensor) -> torch.Tensor:
        if self.merge is None:
            return hidden
        half = int(hidden.shape[1] ** 0.5) // 2
        squares = hidden.reshape(-1, half, 2, half, 2, WIDTH).transpose(2, 3)
        return self.merge(squares.reshape(-1, half * half, 4 * WIDTH))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = self.merged(hidden)
        weights = (self.query(hidden) @ self.key(hidden).transpose(1, 2) / WIDTH**0.5).softmax(-1)
        return hidden + weights @ self.value(hidden)


class Pyramid(torch.nn.Module):
    """Four blocks: two over 8 by 8 patches, and two over 4 by 4."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = torch.nn.Conv2d(3, WIDTH, 4, 4)
        self.blocks = torch.nn.ModuleList(Block(merges=number == 2) for number in range(4))


def _attention(block: Any, hidden: torch.Tensor) -> Attention:
    return Attention(block.merged(hidden), block.query, block.key, HEADS, (WIDTH // HEADS) ** -0.5)


PYRAMID = Anatomy(
    "Pyramid",
    lambda spec: Pyramid(),
    lambda tower, pixels: tower.patches(pixels).flatten(2).transpose(1, 2),
    lambda tower: tower.blocks,
    _attention,
    lambda block, hidden: block(hidden),
)


def _spec(feature_layer: int) -> TowerSpec:
    """As its visual tokens are: 4 by 4 of them."""
    sizes = {
        "hidden_size": WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": HEADS,
        "image_size": SIDE,
        "patch_size": 8,
    }
    made = TOWERS["siglip_vision_model"](Settings("config.json", "", sizes, {}), feature_layer)
    return replace(made, kind="pyramid")


@pytest.mark.usefixtures("tracer")
@pytest.mark.parametrize("layers", [LAYERS, pytest.param((0, 1, 2), marks=pytest.mark.full)])
def test_a_tower_that_merges_patches_on_its_way(monkeypatch: pytest.MonkeyPatch, layers: tuple[int, ...]) -> None:
    """The graph and the reference, which were written apart, and plain numpy: all layers on the last one's grid."""
    for module in (graph, reference):
        monkeypatch.setattr(module, "anatomy", lambda kind: PYRAMID)
    torch.manual_seed(0)
    tower, spec = Pyramid().eval(), _spec(4)
    tensors = {
        f"tower.{name}": Weight(name, tuple(value.shape), "float32", partial(torch.clone, value))
        for name, value in tower.state_dict().items()
    }
    pixels = np.random.default_rng(1).standard_normal((2, 3, SIDE, SIDE)).astype(np.float32)
    found = Runnable(graph.tower_graph(spec, layers, Weights(cast(tensors, "float32")), "float32"))(pixel_values=pixels)

    states = [PYRAMID.embed(tower, torch.from_numpy(pixels))]
    for block in tower.blocks:
        states.append(block(states[-1]))
    assert [state.shape[1] for state in states] == [64, 64, 64, 16, 16]
    for place, layer in enumerate(layers):
        expected = states[layer].detach().double().numpy()
        if expected.shape[1] == 64:
            expected = expected.reshape(2, 4, 2, 4, 2, WIDTH).mean((2, 4)).reshape(2, 16, WIDTH)
        np.testing.assert_allclose(found["features"][:, place], expected, atol=1e-5)
    assert found["cls_saliency"].shape == (2, 16)

    block = spec.saliency_layer(layers)
    told = reference.Squares(spec, tower, None).vision({port.PIXEL_VALUES: pixels}, layers, block, torch.float32)
    for name, value in told.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5)
