"""LLaVA and LLaVA-NeXT whose tower is DINOv2's, as transformers saves it, under names of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForImageTextToText, Dinov2Config, Dinov2Model

from clasp_trt.export.models.llava import LAYOUTS
from clasp_trt.export.weights.names import canonical
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.profile.workload import noise
from examples.random_llava import PRESETS, make

TOWER = {
    **{"model_type": "dinov2", "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "mlp_ratio": 2},
    **{"image_size": 56, "patch_size": 14, "use_mask_token": True},
}


@pytest.fixture(scope="module", params=["tiny", "tiny-next"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make(tmp_path_factory.mktemp("dinov2") / "model", PRESETS[request.param])
    (root / "model.safetensors").unlink()
    settings = {**json.loads((root / "config.json").read_text()), "vision_config": TOWER}
    config = AutoConfig.for_model(**settings)
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config)
    for name, values in model.model.vision_tower.named_parameters():
        torch.nn.init.normal_(values, mean=float("lambda" in name or "norm" in name), std=0.2)
    model.save_pretrained(root)
    return root


def test_names_on_disk_are_those_of_the_modules(folder: Path) -> None:
    stored = {name for name in load_file(folder / "model.safetensors") if name.startswith("vision_tower.")}
    modules = {f"tower.{name}" for name, _ in Dinov2Model(Dinov2Config(**TOWER)).named_parameters()}
    assert {canonical(name, LAYOUTS) for name in stored} == modules
    assert {canonical(name.replace("tower.", "vision_tower.", 1), LAYOUTS) for name in modules} == modules


@pytest.mark.full
def test_every_stage_is_that_of_transformers(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("polygraphy")
    from clasp_trt.tools.verify import compare

    bundle = build(str(folder), tmp_path / "bundle", budget="1/2", max_context=256)
    report = compare(bundle, str(folder), [noise(bundle)], "What is behind the cat?")
    report.require()
    assert report.skipped == ()
