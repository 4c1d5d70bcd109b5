"""Folders that are handed over for a checkpoint and are none: the line says what each is, and what to do."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.family import family_of
from clasp_trt.notice import Notice
from examples.random_llava import PRESETS, make
from tests.mistakes import says

INDEX, SINGLE, BASE = "model.safetensors.index.json", "model.safetensors", "llava-hf/llava-1.5-7b-hf"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 99\n"


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint of one's own, to break."""
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return make(tmp_path / "sharded", PRESETS["tiny"], shards=3)


def _refused(folder: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        Checkpoint.open(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def _adapter(folder: Path, **values: Any) -> None:
    settings = {"peft_type": "LORA", "base_model_name_or_path": BASE, **values}
    (folder / "adapter_config.json").write_text(json.dumps(settings))


# --- adapters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keeps", [("config.json",), ()])
def test_an_adapter_alone_names_its_base(folder: Path, keeps: tuple[str, ...]) -> None:
    for path in folder.iterdir():
        if path.name not in keeps:
            path.unlink()
    _adapter(folder)
    (folder / "adapter_model.safetensors").touch()
    says(_refused(folder), folder, "LORA", BASE, "merge_and_unload")


def test_an_adapter_beside_a_model_is_refused(folder: Path) -> None:
    _adapter(folder, peft_type="DORA")
    says(_refused(folder), "DORA", "adapter_config.json", "beside", "merge_and_unload")


def test_an_adapter_s_weights_without_its_settings_are_told(folder: Path) -> None:
    """transformers looks at the settings alone, and loads the model without a word."""
    (folder / "adapter_model.safetensors").touch()
    with pytest.warns(Notice) as told:
        Checkpoint.open(folder)
    says(told[0].message, "adapter_model.safetensors", "adapter_config.json")


# --- weights that are somewhere else ------------------------------------------------------------------------


def _renamed(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / SINGLE).rename(folder / name)


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        (_renamed("model.fp16.safetensors"), ["model.fp16.safetensors", "fp16", SINGLE]),
        (_renamed("model.bf16-00001-of-00002.safetensors"), ["bf16"]),
        (_renamed("model-00001-of-00002.safetensors"), ["model-00001-of-00002.safetensors", INDEX]),
        (_renamed("shard-00000-model-00001-of-00002.safetensors"), ["distributed", "save_pretrained"]),
        (_renamed("consolidated.safetensors"), ["consolidated.safetensors", SINGLE]),
        (_renamed("pytorch_model.bin"), ["pickled", "save_pretrained"]),
        (_renamed("model.ckpt.pt"), ["pickled"]),
        (_renamed("llava-q4.gguf"), ["llava-q4.gguf", "GGUF"]),
        (_renamed("tf_model.h5"), ["TensorFlow"]),
        (_renamed("flax_model.msgpack"), ["Flax"]),
        (lambda folder: (folder / SINGLE).unlink(), [SINGLE, INDEX]),
        (lambda folder: (folder / SINGLE).write_text(POINTER), [SINGLE, "git lfs pull"]),
        (lambda folder: (folder / "config.json").write_text(POINTER), ["config.json", "git lfs pull"]),
    ],
)
def test_weights_that_are_somewhere_else(folder: Path, change: Callable[[Path], object], facts: list[str]) -> None:
    change(folder)
    says(_refused(folder), folder, *facts)


def test_a_pointer_in_place_of_a_shard_is_named(sharded: Path) -> None:
    (sharded / "model-00002-of-00003.safetensors").write_text(POINTER)
    says(_refused(sharded), "model-00002-of-00003.safetensors", "git lfs pull")


# --- no config ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "facts"),
    [
        ([], ["config.json"]),
        (["model_index.json"], ["diffusers", "model_index.json"]),
        (["checkpoint-50/config.json", "checkpoint-90/config.json"], ["checkpoint-90"]),
        (["params.json", "consolidated.00.pth"], ["params.json", "converted"]),
        (["mm_projector.bin"], ["mm_projector.bin", "converted"]),
        (["llava-q4.gguf"], ["llava-q4.gguf", "GGUF"]),
        (["refs/main", "snapshots/abc/config.json"], ["cache", "snapshots/abc"]),
    ],
)
def test_folders_without_a_config(tmp_path: Path, files: list[str], facts: list[str]) -> None:
    for name in files:
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "model").mkdir(exist_ok=True)
    says(_refused(tmp_path / "model"), *facts)


@pytest.mark.parametrize("kind", ["llava_llama", "llava_mistral", "llava_qwen"])
def test_other_layouts_of_llava_s_authors(folder: Path, kind: str) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": kind, "mm_vision_tower": "openai/clip"}))
    with pytest.raises(CheckpointError) as error:
        family_of(Checkpoint.open(folder))
    says(error, kind, "mm_vision_tower", "converted")


# --- two that say where the weights are ---------------------------------------------------------------------


def test_one_file_comes_before_an_index_as_in_transformers(sharded: Path, folder: Path) -> None:
    shutil.copyfile(folder / SINGLE, sharded / SINGLE)
    with pytest.warns(Notice) as told:
        assert Checkpoint.open(sharded).shards == (sharded / SINGLE,)
    says(told[0].message, SINGLE, INDEX)
    (sharded / INDEX).unlink()
    with pytest.warns(Notice) as told:
        assert Checkpoint.open(sharded).shards == (sharded / SINGLE,)
    says(told[0].message, SINGLE, "model-00001-of-00003.safetensors")


def test_the_config_may_name_the_file(sharded: Path, folder: Path) -> None:
    """As transformers writes it for weights under another name."""
    shutil.copyfile(folder / SINGLE, sharded / SINGLE)
    config = json.loads((sharded / "config.json").read_text())
    (sharded / "config.json").write_text(json.dumps({**config, "transformers_weights": INDEX}))
    with pytest.warns(Notice) as told:
        assert len(Checkpoint.open(sharded).shards) == 3
    says(told[0].message, INDEX, SINGLE)


@pytest.mark.parametrize("name", ["../model.safetensors", "other.safetensors", "model.bin", 3])
def test_a_file_that_the_config_names_wrongly(folder: Path, name: object) -> None:
    shutil.copyfile(folder / SINGLE, folder.parent / SINGLE)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "transformers_weights": name}))
    says(_refused(folder), "transformers_weights", name)


def test_a_plain_folder_is_opened_without_a_word(folder: Path, sharded: Path) -> None:
    weight_map = dict.fromkeys(load_file(folder / SINGLE), SINGLE)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))  # says nothing else
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Checkpoint.open(folder)
        Checkpoint.open(sharded)


def test_the_weights_that_are_read_are_those_of_the_stock_model(sharded: Path, tmp_path: Path) -> None:
    """A model tuned and saved as one file into the folder of its sharded original."""
    import torch
    from transformers import LlavaForConditionalGeneration

    tuned = make(tmp_path / "tuned", PRESETS["tiny"], seed=7)
    shutil.copyfile(tuned / SINGLE, sharded / SINGLE)
    with pytest.warns(Notice):
        weights = family_of(Checkpoint.open(sharded)).decoder_weights("float32")
    stock: Any = LlavaForConditionalGeneration.from_pretrained(sharded, dtype=torch.float32)
    found = weights.tensor("norm.weight").numpy()
    assert (found == stock.model.language_model.norm.weight.detach().numpy()).all()
    assert (found == load_file(tuned / SINGLE)["language_model.model.norm.weight"]).all()


def test_a_tensor_in_two_shards_is_that_of_the_last(sharded: Path) -> None:
    from clasp_trt.export.weights.stored import stored

    last = sharded / "model-00003-of-00003.safetensors"
    first = load_file(sharded / "model-00001-of-00003.safetensors")
    name = next(iter(first))
    save_file({**load_file(last), name: first[name] + 1}, last)
    with pytest.warns(Notice) as told:
        found = stored(Checkpoint.open(sharded))[name].read().numpy()
    assert (found == first[name] + 1).all()
    says(told[0].message, name, "model-00001-of-00003.safetensors", last.name)
