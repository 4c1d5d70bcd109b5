"""What Qwen's families read of a config and of an image processor's settings, and what they refuse."""

from __future__ import annotations

import copy
import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText

from benchmarks.qwen import CONFIGS
from clasp_trt.bundle import Grid
from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.description import GridDescription
from clasp_trt.export.family import describe, family_of
from clasp_trt.notice import Notice
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.verify import compare
from examples.random_qwen import PRESETS, make
from tests.mistakes import says

FAMILIES = {"qwen2_vl": "tiny-qwen2", "qwen2_5_vl": "tiny-qwen2.5", "qwen3_vl": "tiny-qwen3"}
FITTING = {
    "qwen2_vl": {"hidden_size": 8192},
    "qwen2_5_vl": {"out_hidden_size": 8192},
    "qwen3_vl": {"out_hidden_size": 4096},
}
PUBLISHED = [name for name, config in CONFIGS.items() if config["model_type"] in FAMILIES]


def _described(config: dict[str, Any]) -> GridDescription:
    found = describe(copy.deepcopy(config), "config.json", "x")
    assert isinstance(found, GridDescription)
    return found


def _filled(config: dict[str, Any]) -> dict[str, Any] | None:
    """The config with all defaults of transformers; None if it refuses it."""
    from huggingface_hub.errors import StrictDataclassError

    given = copy.deepcopy(config)
    kind = given.pop("model_type")
    try:
        whole: dict[str, Any] = json.loads(AutoConfig.for_model(kind, **given).to_json_string(use_diff=False))
    except (StrictDataclassError, ValueError, TypeError, AttributeError, KeyError):
        return None
    return {"model_type": kind, **whole}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_of_transformers(name: str) -> None:
    config = CONFIGS[name]
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(**copy.deepcopy(config)))
    assert _described(config).parameters == model.num_parameters()


@pytest.mark.parametrize("kind", FAMILIES)
def test_defaults_are_those_of_transformers(kind: str) -> None:
    config = {"model_type": kind, "vision_config": FITTING[kind]}  # by default the library's two parts do not fit
    whole = _filled(config)
    assert whole is not None
    assert _described(config) == _described(whole)


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name.endswith(("3B", "2B"))])
def test_whatever_field_is_left_out_is_filled_in_or_refused_as_in_transformers(name: str) -> None:
    """Every field of a config, at the top or in a part, gone or null: the same model, or a refusal by one of both."""
    config, read = CONFIGS[name], set()
    parts = [part for part in ("vision_config", "text_config") if part in config]
    places = [("", key) for key in config if key not in ("model_type", "text_config")]
    places += [(part, key) for part in parts for key in config[part]]
    for part, key in places:
        for null in (True, False):
            changed = copy.deepcopy(config)
            inner = changed[part] if part else changed
            del inner[key]
            if null:
                inner[key] = None
            theirs = _filled(changed)
            try:
                found: object = _described(changed)
            except CheckpointError:
                continue
            if theirs is None:
                assert null, (part, key)
            else:
                assert found == _described(theirs), (part, key, null)
                read.add(key)
    assert len(read) > 15


@pytest.mark.parametrize("name", ["Qwen2-VL-7B", "Qwen2.5-VL-7B"])
def test_fields_at_the_top_are_those_of_a_text_config(name: str) -> None:
    """As old and as new files have them."""
    whole = _filled(CONFIGS[name])
    assert whole is not None
    assert "num_hidden_layers" not in whole
    assert _described(whole) == _described(CONFIGS[name])


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"text_config": {"model_type": "llama"}}, ("text_config.model_type", "llama", "qwen2_5_vl_text")),
        ({"vision_config": {"model_type": "siglip_vision_model"}}, ("vision_config.model_type", "siglip_vision_model")),
        ({}, ("out_hidden_size", 3584, 8192)),
        ({"hidden_size": 3584, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, ("rope_scaling", "dynamic")),
        ({"hidden_size": 3584, "num_attention_heads": 24}, ("num_attention_heads", 24, 3584)),
        ({"vision_config": FITTING["qwen2_5_vl"], "image_token_id": "<|image_pad|>"}, ("image_token_id",)),
    ],
    ids=str,
)
def test_variants_that_are_not_compiled(changes: dict[str, Any], facts: tuple[object, ...]) -> None:
    with pytest.raises(CheckpointError) as refused:
        _described({"model_type": "qwen2_5_vl", **changes})
    says(refused, *facts)


def test_deepstack_is_for_layers_that_there_are() -> None:
    config = copy.deepcopy(CONFIGS["Qwen3-VL-2B"])
    assert _described(config).decoder.deepstack == 3
    config["text_config"]["num_hidden_layers"] = 3
    with pytest.raises(CheckpointError) as refused:
        _described(config)
    says(refused, "deepstack_visual_indexes", 3)


def test_experts_are_not_compiled() -> None:
    with pytest.raises(CheckpointError) as refused:
        describe({"model_type": "qwen3_vl_moe"}, "config.json", "x")
    says(refused, "qwen3_vl_moe", *FAMILIES)


@pytest.fixture(scope="module", params=FAMILIES.values())
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("qwen") / "checkpoint", PRESETS[request.param])


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def test_pictures_are_as_large_as_the_processor_says(whole: Path) -> None:
    made = family_of(Checkpoint.open(whole))
    processor = made.media.image.processor
    assert isinstance(processor, Grid)
    block = (processor.patch * processor.merge) ** 2
    assert (processor.least_pixels // block, processor.most_pixels // block) == (4, 96)
    assert made.info.tokens == made.media.token_range == made.description.tokens
    assert made.info.tokens == (1, *processor.token_range[1:]), "frames of a clip may be smaller than pictures"


def test_and_no_larger_than_is_asked_for(whole: Path) -> None:
    made = family_of(Checkpoint.open(whole), 40)
    assert max(made.info.tokens) <= 40
    assert max(made.media.image.processor.token_range) <= 40


def test_a_missing_tensor_is_named_as_on_disk(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("visual.patch_embed.proj.weight"))
    tensors[f"{name}_"] = tensors.pop(name)
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError) as error:
        family_of(Checkpoint.open(folder)).vision_graph((1, 4), "float32")
    says(error, "visual.patch_embed.proj.weight")


@pytest.mark.full
@pytest.mark.parametrize("size", [(80, 60), (300, 40)])
@pytest.mark.parametrize(
    "options",
    [
        {"budget": "paper:64"},
        {"prune_at": "encoder"},
        {"budget": "1/3", "precision": "fp16", "max_images": 2},
        {"prune_at": "none", "precision": "fp16"},
    ],
    ids=str,
)
def test_what_is_built_is_verified(whole: Path, tmp_path: Path, options: dict[str, Any], size: tuple[int, int]) -> None:
    """Pixels and token ids too, against the library's own processor, which without torchvision takes no videos."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)  # every tensor is read
        bundle = build(whole, tmp_path / "bundle", max_context=512, **options)
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    report = compare(bundle, str(whole), [Image.fromarray(pixels)], "What is in the picture?")
    report.require()
    assert not report.skipped
    assert {check.stage for check in report.checks} >= {"request", *(graph.name for graph in bundle.manifest.graphs)}


@pytest.mark.parametrize(
    "preset", ["tiny-qwen3", *(pytest.param(each, marks=pytest.mark.full) for each in ("tiny-qwen2", "tiny-qwen2.5"))]
)
def test_a_tied_head_is_the_embedding(tmp_path: Path, preset: str) -> None:
    """As in the small ones of the published checkpoints."""
    model = make(tmp_path / "model", replace(PRESETS[preset], tie_word_embeddings=True))
    bundle = build(model, tmp_path / "bundle", max_context=256, prune_at="none")
    compare(bundle, str(model), [Image.new("RGB", (60, 60), "red")], "What?").require()
