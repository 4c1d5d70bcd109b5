"""Names of tensors: which of two counts, and lines that speak of them as they are on disk."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration

from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.family import family_of
from clasp_trt.export.models.llava import LAYOUTS
from clasp_trt.export.weights.names import canonical, on_disk, refuse_wrapped
from clasp_trt.notice import Notice
from clasp_trt.tools.build.compiler import build
from tests.mistakes import says

NORM, HEAD = "language_model.model.norm.weight", "language_model.lm_head.weight"


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint of one's own, to break."""
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def _edit(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Checkpoint:
    path = folder / "model.safetensors"
    save_file({key: value.clone() for key, value in change(load_file(path)).items()}, path)
    return Checkpoint.open(folder)


@pytest.mark.parametrize("other", ["model.language_model.norm.weight", "language_model.norm.weight"])
def test_of_two_names_of_a_tensor_that_counts_which_the_stock_model_takes(folder: Path, other: str) -> None:
    checkpoint = _edit(folder, lambda tensors: {**tensors, other: tensors[NORM] + 1})
    with pytest.warns(Notice) as told:
        found = family_of(checkpoint).decoder_weights("float32").tensor("norm.weight").numpy()
    says(told[0].message, NORM, other)
    stock: Any = LlavaForConditionalGeneration.from_pretrained(folder)
    assert (found == stock.model.language_model.norm.weight.detach().numpy()).all()


@pytest.mark.parametrize(
    ("rename", "there", "expected"),
    [
        (lambda key: f"_orig_mod.{key}", f"_orig_mod.{NORM}", NORM),
        (lambda key: f"base_model.model.{key}", f"base_model.model.{NORM}", NORM),
        (lambda key: f"module.{key}", f"module.{NORM}", NORM),
        (
            lambda key: key.replace("language_model.", "language_model._orig_mod."),
            "language_model._orig_mod.model.norm.weight",
            NORM,
        ),
        (
            lambda key: key.replace("self_attn.", "_fsdp_wrapped_module.self_attn."),
            "language_model.model.layers.0._fsdp_wrapped_module.self_attn.q_proj.weight",
            "language_model.model.layers.0.self_attn.q_proj.weight",
        ),
    ],
    ids=["compiled", "PEFT", "DDP", "compiled inside", "FSDP"],
)
def test_a_wrapper_s_names_are_told_by_one_that_is_there(
    folder: Path, rename: Callable[[str], str], there: str, expected: str
) -> None:
    keep = (there, expected)
    tensors = load_file(folder / "model.safetensors")
    renamed = {rename(key): value for key, value in tensors.items() if rename(key) in keep or key == expected}
    save_file(renamed, folder / "model.safetensors")
    with pytest.raises(CheckpointError) as error:
        family_of(Checkpoint.open(folder)).decoder_weights("float32")
    says(error, there, expected)


@pytest.mark.parametrize("part", ["q_proj.lora_A.weight", "q_proj.base_layer.weight", "q_proj.lora_A.default.weight"])
def test_an_adapter_that_was_saved_inside_its_model(folder: Path, part: str) -> None:
    key = f"base_model.model.language_model.model.layers.0.self_attn.{part}"
    checkpoint = _edit(folder, lambda tensors: {**tensors, key: tensors[NORM]})
    with pytest.raises(CheckpointError) as error:
        family_of(checkpoint).decoder_weights("float32")
    says(error, "adapter", key, "merge_and_unload")


def test_foreign_tensors_are_no_wrapper() -> None:
    refuse_wrapped([NORM, HEAD, "image_newline", "optimizer.step"], LAYOUTS, "here")


LAYER, BLOCK = "model.language_model.layers", "vision_tower.vision_model.encoder.layers"


@pytest.mark.parametrize(
    ("missing", "there", "expected"),
    [
        ("decoder.layers.3.mlp.up_proj.weight", f"{LAYER}.2.mlp.up_proj.weight", f"{LAYER}.3.mlp.up_proj.weight"),
        ("tower.encoder.layers.0.mlp.fc1.bias", f"{BLOCK}.0.mlp.fc1.weight", f"{BLOCK}.0.mlp.fc1.bias"),
        ("decoder.lm_head.weight", None, "lm_head.weight"),
        ("projector.linear_1.weight", None, "multi_modal_projector.linear_1.weight"),
    ],
)
def test_what_is_missing_goes_by_the_names_of_what_is_there(missing: str, there: str | None, expected: str) -> None:
    stored = {} if there is None else {canonical(there, LAYOUTS): there}
    assert on_disk(missing, stored, LAYOUTS) == (expected, there)


ATTENTION = "language_model.model.layers.1.self_attn"
DENIED = (
    "multi_modal_projector.linear_1.bias",
    "multi_modal_projector.linear_2.bias",
    f"{ATTENTION}.q_proj.bias",
    f"{ATTENTION}.q_norm.weight",
    "language_model.model.layers.4.mlp.up_proj.weight",
    "image_newline",
)


def test_tensors_that_the_config_denies_are_told(folder: Path, tmp_path: Path) -> None:
    """They are not read, as in the stock model; but whoever has them was trained with them."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "multimodal_projector_bias": False}))
    _edit(
        folder,
        lambda tensors: {
            **dict.fromkeys(DENIED, tensors[NORM]),
            **tensors,
            f"{ATTENTION}.rotary_emb.inv_freq": tensors[NORM],
        },
    )
    with pytest.warns(Notice) as told:
        build(folder, tmp_path / "bundle", prune_at="none")
    says(told[0].message, folder, "config.json", len(DENIED), *sorted(DENIED)[:3])
    assert len(told) == 1


def test_what_a_tower_has_beyond_the_layer_that_is_read_is_no_surprise(folder: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        build(folder, tmp_path / "bundle", prune_at="none")
