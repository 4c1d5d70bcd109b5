"""Bundles whose tower drops patches against the eager modules with the same rows dropped: kept tokens as the picture
counts them, original positions, logits and answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clasp_trt.bundle import Bundle
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.tools.build.compiler import build
from examples.random_llava import make
from tests.parity import test_parity
from tests.parity.eager import EagerClasp, _Rows
from tests.parity.test_parity import BASE, PHOTO, PROMPTS, Built, assert_same, compiled, in_float64, spread_policy

SHAPE = replace(BASE, vision_layers=4)
KEEP, BLOCK = 40, 2
PRUNINGS: dict[str, dict[str, Any]] = {
    "decoder": {"schedule": (30, 17, 8), "prune_layers": (0, 2, 3)},
    "encoder": {"budget": 20},
    "none": {},
}


class Thinned(EagerClasp):
    """After block :data:`BLOCK` of the tower :data:`KEEP` patches stay, chosen by a plain sort."""

    @torch.inference_mode()
    def vision_hidden_states(self, pixel_values: Tensor) -> list[Tensor]:
        states = [self.vision.pre_layrnorm(self.vision.embeddings(pixel_values))]
        for number, block in enumerate(self.vision.encoder.layers, start=1):
            states.append(block(states[-1], None))
            if number == BLOCK:
                feature, self.feature_layer = self.feature_layer, BLOCK
                salient = self.cls_saliency(states).tolist()
                self.feature_layer = feature
                self.stay = sorted(sorted(range(len(salient)), key=lambda each: (-salient[each], each))[:KEEP])
                rows = torch.tensor([0, *(each + 1 for each in self.stay)])
                self.all = len(salient)
                states = [state[:, rows] for state in states]
        return states

    @torch.inference_mode()
    def project(self, hidden_states: Sequence[Tensor], alpha: Sequence[float], layers: Sequence[int]) -> Tensor:
        """A row for each patch, of which those that went hold nothing."""
        visual = super().project(hidden_states, alpha, layers)
        every = visual.new_full((self.all, visual.shape[1]), torch.nan)
        every[self.stay] = visual
        return every

    def _merge(self, input_ids: Tensor, visual: Tensor) -> _Rows:
        rows = super()._merge(input_ids, visual)
        return rows.without((rows.visual >= 0) & ~torch.isin(rows.visual, torch.tensor(self.stay)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("thinned")
    (root / "policy.json").write_text(spread_policy(SHAPE.vision_layers).dumps())
    return make(root / "checkpoint", SHAPE)


def _built(folder: Path, pruning: str) -> Bundle:
    return build(
        folder, folder.parent / pruning, prune_at=pruning, prune_tower=f"{BLOCK}:{KEEP}", max_context=1024, force=True,
        policy=folder.parent / "policy.json", **PRUNINGS[pruning],
    )  # fmt: skip


@pytest.mark.usefixtures("tracer")
@pytest.mark.parametrize(
    "pruning", ["decoder", *(pytest.param(way, marks=pytest.mark.full) for way in ("encoder", "none"))]
)
def test_kept_tokens_logits_and_answer(folder: Path, pruning: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[Thinned]()

    def eager(model: Any) -> Thinned:
        made.append(Thinned(model))
        return made[-1]

    monkeypatch.setattr(test_parity, "EagerClasp", eager)
    pair, (text, category) = Built(load(_built(folder, pruning).root, threads=1), folder), PROMPTS["long text before"]
    number = [each.name for each in pair.pipeline.policy.categories].index(category)
    reference = test_parity.eager(pair.pipeline, pair.model(), text, number)
    truth, tolerance = in_float64(pair, text, category, reference)
    with pytest.MonkeyPatch.context() as watched:
        result, logits = compiled(pair.pipeline, text, None, watched)
    tower, *stages = result.kept
    assert (tower.tower_block, tower.after_layer, tower.is_pivot.any()) == (BLOCK, -1, False)
    assert tower.indices.tolist() == made[0].stay
    assert_same(replace(result, kept=tuple(stages)), reference)
    assert result.visual_tokens == 64
    assert len(set(result.token_ids)) > 4, "a model that repeats itself proves little"
    assert np.abs(logits - truth).max() <= tolerance


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Pipeline:
    return load(_built(folder, "decoder").root, threads=1)


@pytest.mark.full
def test_other_methods_choose_among_what_is_left(pipeline: Pipeline) -> None:
    from clasp_trt.methods import METHODS

    for name in ("visionzip", "uniform", "none"):
        result = pipeline.variant(method=METHODS[name]).generate(PHOTO, "What is this?", max_new_tokens=2)
        tower, *stages = result.kept
        for stage in stages:
            assert set(stage.indices.tolist()) <= set(tower.indices.tolist())


def test_an_encoded_picture_keeps_its_choice(pipeline: Pipeline) -> None:
    seen = pipeline.encode(PHOTO)
    first, second = (pipeline.generate(image, "What is this?", max_new_tokens=3) for image in (seen, PHOTO))
    assert [each.indices.tolist() for each in first.kept] == [each.indices.tolist() for each in second.kept]
    assert first.token_ids == second.token_ids
