"""Towers that drop patches on their way, against transformers' own blocks run on the rows that stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch

from clasp_trt.errors import ScheduleError
from clasp_trt.export.config import Settings
from clasp_trt.export.towers.configs import TOWERS
from clasp_trt.export.towers.graph import tower_graph
from clasp_trt.export.towers.spec import TowerSpec
from clasp_trt.export.weights.graph import Weights
from clasp_trt.export.weights.stored import Weight
from clasp_trt.export.weights.transforms import cast
from clasp_trt.ops import most_salient
from clasp_trt.thinning import Thinning
from tests.export.running import Runnable
from tests.export.towers.test_graph import SIZES, library
from tests.mistakes import says

LAYERS = (1, 2, 4)  # one before the drop, the block that it follows, and one after it
DEEP = {**SIZES, "num_hidden_layers": 4}
THINNING = Thinning(2, 4, 9)
pytestmark = pytest.mark.usefixtures("tracer")


def graph(kind: str, tower: Any, layers: Sequence[int] = LAYERS, *, thins: bool = True) -> ir.Model:
    tensors = {
        f"tower.{name}": Weight(name, tuple(value.shape), "float32", partial(torch.clone, value))
        for name, value in tower.state_dict().items()
    }
    spec = replace(TOWERS[kind](Settings("config.json", "", DEEP, {}), -1), thinning=THINNING if thins else None)
    return tower_graph(spec, layers, Weights(cast(tensors, "float32")), "float32")


@torch.inference_mode()
def _seen(tower: Any, kept: np.ndarray, pixels: torch.Tensor, first: int) -> tuple[list[Any], Any, Any]:
    """States of LAYERS, saliency of all patches in block 2 and of those that stay in block 4: by hooks on the library's
    own blocks, which are given fewer rows from block 3 on."""
    rows = torch.from_numpy(np.concatenate([np.zeros((len(kept), first), np.int64), kept + first], axis=1))
    states, attended = list[torch.Tensor](), list[torch.Tensor]()
    layers = next(module for module in tower.modules() if isinstance(module, torch.nn.ModuleList) and len(module) == 4)

    def narrow(number: int, _: Any, taken: Any) -> Any:
        hidden = taken[0]
        if number == 2:
            hidden = torch.stack([each[own] for each, own in zip(hidden, rows, strict=True)])
        states.append(hidden)
        return (hidden, *taken[1:])

    def watch(_: Any, taken: Any, given: Any) -> None:
        attended.append(given[1])

    hooks = [layer.register_forward_pre_hook(partial(narrow, number)) for number, layer in enumerate(layers)]
    for layer in layers:
        own = getattr(layer, "self_attn", None) or layer.attention
        hooks.append(own.register_forward_hook(watch))
    last = layers[-1].register_forward_hook(
        lambda _, taken, given: states.append(given if torch.is_tensor(given) else given[0])
    )
    tower(pixels, output_attentions=True)
    for hook in (*hooks, last):
        hook.remove()
    early = torch.stack([each[own] for each, own in zip(states[1], rows, strict=True)])
    salient = [each.mean((1, 2)) if not first else each.mean(1)[:, 0, 1:] for each in attended]
    return [state[:, first:].numpy() for state in (early, states[2], states[4])], salient[1].numpy(), salient[3].numpy()


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if "clip" in kind else pytest.mark.full) for kind in TOWERS]
)
def test_every_state_is_that_of_the_rows_that_stay(kind: str) -> None:
    tower = library(kind, DEEP)
    pixels = np.random.default_rng(1).standard_normal((2, 3, 42, 42)).astype(np.float32)
    found = Runnable(graph(kind, tower))(pixel_values=pixels)
    kept = found["kept"]
    assert kept.tolist() == most_salient(found["patch_saliency"], 4).tolist()
    assert kept[0].tolist() != kept[1].tolist(), "each picture has its own"
    first = int(kind != "siglip_vision_model")
    near = _seen(tower, kept, torch.from_numpy(pixels), first)
    exact = _seen(library(kind, DEEP).double(), kept, torch.from_numpy(pixels).double(), first)
    assert found["features"].shape == (2, 3, 4, 32)
    for place in range(3):
        allowed = 4 * np.abs(near[0][place] - exact[0][place]).max()
        assert np.abs(found["features"][:, place] - exact[0][place]).max() <= allowed
    for name, rough, truth in (("patch_saliency", near[1], exact[1]), ("cls_saliency", near[2], exact[2])):
        allowed = 4 * max(np.abs(rough - truth).max(), np.finfo(np.float32).eps * truth.max())
        assert np.abs(found[name] - truth).max() <= allowed


def test_a_policy_that_ends_before_it_is_refused() -> None:
    with pytest.raises(ScheduleError) as error:
        graph("clip_vision_model", library("clip_vision_model", DEEP), (0, 2))
    says(error, "--prune-tower", "after block 2")


def test_an_estimate_counts_the_rows_that_are_left() -> None:
    whole = TOWERS["clip_vision_model"](Settings("config.json", "", DEEP, {}), -1)
    thin: TowerSpec = replace(whole, thinning=THINNING)
    block = {rows: 2 * rows * whole.block_matrices + 4 * rows * rows * whole.width for rows in (10, 5)}
    assert whole.flops(10) - thin.flops(10) == 2 * (block[10] - block[5])
