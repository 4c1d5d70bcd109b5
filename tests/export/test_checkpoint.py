"""Reading checkpoints: every layout that is out there, and one clear line for each way in which one can be broken."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration

from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.family import family_of, supported
from clasp_trt.export.models.llava import LAYOUTS
from clasp_trt.export.weights.graph import Weights
from clasp_trt.export.weights.stored import stored
from clasp_trt.export.weights.transforms import cast, renamed
from examples.random_llava import PRESETS, make
from tests.mistakes import says

HEAD = "language_model.lm_head.weight"


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint of one's own, to break."""
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return make(tmp_path / "sharded", PRESETS["tiny"], shards=3)


def _line(error: pytest.ExceptionInfo[CheckpointError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def _values(folder: Path, dtype: str = "float32") -> dict[str, np.ndarray[Any, Any]]:
    """Every weight by its canonical name, as the export would write it."""
    tensors = renamed(stored(Checkpoint.open(folder)), LAYOUTS)
    weights = Weights(cast(tensors, dtype))
    return {name: weights.tensor(name).numpy() for name in tensors}


# --- layouts ------------------------------------------------------------------------------------------------


def test_a_folder_and_the_same_in_shards(checkpoint: Path, sharded: Path) -> None:
    whole, pieces = _values(checkpoint), _values(sharded)
    assert len(Checkpoint.open(sharded).shards) == 3
    assert whole.keys() == pieces.keys()
    assert all(np.array_equal(whole[name], pieces[name]) for name in whole)


def test_old_and_new_names_are_the_same_weights(checkpoint: Path, tmp_path: Path) -> None:
    """The published files keep the names of older libraries; what today's library saves has other ones."""
    model: Any = LlavaForConditionalGeneration.from_pretrained(checkpoint)
    inside = {name.removeprefix("model."): value for name, value in model.state_dict().items()}
    # as the modules are called: model.language_model.layers.0..., lm_head.weight
    as_modules = tmp_path / "modules"
    as_modules.mkdir()
    save_file(
        {f"model.{k}" if k != "lm_head.weight" else k: v for k, v in inside.items()}, as_modules / "model.safetensors"
    )
    shutil.copyfile(checkpoint / "config.json", as_modules / "config.json")
    model.save_pretrained(tmp_path / "saved")
    published = _values(checkpoint)
    for other in (as_modules, tmp_path / "saved"):
        found = _values(other)
        assert found.keys() == published.keys()
        assert all(np.array_equal(found[name], published[name]) for name in found)


def test_names_are_canonical(checkpoint: Path) -> None:
    assert {name.split(".")[0] for name in _values(checkpoint)} == {"tower", "projector", "decoder"}
    weight = stored(Checkpoint.open(checkpoint))[HEAD]
    for key in (HEAD, "lm_head.weight"):
        assert renamed({key: weight}, LAYOUTS) == {"decoder.lm_head.weight": weight}


@pytest.mark.full
def test_tensors_that_are_no_floats_are_no_weights(folder: Path) -> None:
    """Old files hold buffers such as ``position_ids``, which nobody asks for; a weight must be floats."""
    tensors = load_file(folder / "model.safetensors")
    positions = "vision_tower.vision_model.embeddings.position_ids"
    save_file({**tensors, positions: torch.arange(17)[None]}, folder / "model.safetensors")
    family = family_of(Checkpoint.open(folder))
    assert family.vision_graph((2, 3), "float32").graph.outputs
    with pytest.raises(CheckpointError, match=r"position_ids has type I64") as error:
        Weights(renamed(stored(Checkpoint.open(folder)), LAYOUTS), "tower.").tensor("embeddings.position_ids")
    _line(error)


# --- broken checkpoints -------------------------------------------------------------------------------------


def test_not_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json.*Hugging Face") as error:
        Checkpoint.open(tmp_path)
    _line(error)


@pytest.mark.parametrize("name", ["nowhere", "./nowhere", "/nowhere", "~/nowhere", "a/b/c", ""])
def test_neither_a_folder_nor_a_hub_id(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="give a Hugging Face"):
        Checkpoint.open(name)


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match="is not a folder"):
        Checkpoint.open(tmp_path / "model.safetensors")


def test_a_hub_id_that_is_not_in_the_cache_offline(tmp_path: Path) -> None:
    """In its own process, because the library reads the flag when it is imported."""
    program = (
        "from clasp_trt.export.checkpoint import Checkpoint\n"
        "from clasp_trt.errors import CheckpointError\n"
        "try: Checkpoint.open('nobody/nothing')\n"
        "except CheckpointError as error: print(error)\n"
    )
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, cwd=_root()
    )
    assert done.stdout.startswith("nobody/nothing is no folder here and could not be fetched from the hub: ")
    assert len(done.stdout.splitlines()) == 1


def test_a_hub_id_in_the_cache_offline(checkpoint: Path, tmp_path: Path) -> None:
    """The cache's layout: a snapshot of links, and a reference that names it."""
    repository = tmp_path / "hub" / "models--nobody--tiny"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    for file in checkpoint.iterdir():
        (snapshot / file.name).symlink_to(file)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    program = (
        "from clasp_trt.export.checkpoint import Checkpoint\n"
        "from clasp_trt.export.weights.stored import stored\n"
        "print(len(stored(Checkpoint.open('nobody/tiny'))))\n"
    )
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, cwd=_root()
    )
    assert int(done.stdout) == len(stored(Checkpoint.open(checkpoint)))


def _root() -> Path:
    return Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "consolidated.00.pth"])
def test_pickled_weights_are_refused_with_advice(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(CheckpointError, match=r"can run code.*save_pretrained") as error:
        Checkpoint.open(folder)
    _line(error)


def test_no_weights_at_all(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors.*save_pretrained"):
        Checkpoint.open(folder)


def test_a_model_from_the_hub_keeps_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache keeps it in a folder named after a commit."""
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(folder))
    assert Checkpoint.open("llava-hf/llava-1.5-7b-hf").name == "llava-1.5-7b-hf"
    assert Checkpoint.open(folder).name == folder.name


def test_a_missing_shard_is_named(sharded: Path) -> None:
    (sharded / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match="model-00002-of-00003"):
        Checkpoint.open(sharded)


@pytest.mark.parametrize("weight_map", [None, {}, [], "model.safetensors"])
def test_an_index_without_a_map(sharded: Path, weight_map: object) -> None:
    _edit(sharded / "model.safetensors.index.json", lambda index: index.update(weight_map=weight_map))
    with pytest.raises(CheckpointError, match="has no weight_map"):
        Checkpoint.open(sharded)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "sub/x.safetensors", "..", "", "a\0b"])
def test_an_index_cannot_lead_out_of_the_folder(sharded: Path, name: str) -> None:
    shutil.copyfile(sharded / "model-00001-of-00003.safetensors", sharded.parent / "secret.safetensors")
    _edit(sharded / "model.safetensors.index.json", lambda index: index["weight_map"].update({HEAD: name}))
    with pytest.raises(CheckpointError, match="shard") as error:
        Checkpoint.open(sharded)
    _line(error)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model\.safetensors.*readable") as error:
        stored(Checkpoint.open(folder))
    _line(error)


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", "\udcff", "[" * 100_000], ids=repr)
def test_a_bad_config(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(CheckpointError, match=r"config\.json") as error:
        family_of(Checkpoint.open(folder))
    assert len(_line(error)) < 600


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("model_type"), "model_type None of .* is not supported; supported: "),
        (lambda c: c.update(model_type="mllama"), "'mllama' of .* is not supported; supported: .*llava"),
        (lambda c: c.update(model_type="../llava"), "is not supported"),
        (lambda c: c.update(vision_feature_layer=[-2, -5]), "expected one layer, such as -2"),
        (lambda c: c.update(vision_feature_layer=-9), "vision_feature_layer is -9.* of the tower's 4 layers"),
        (lambda c: c.update(vision_feature_select_strategy="full"), "expected default"),
        (lambda c: c.update(image_token_index=5000), "image_token_id 5000"),
        (lambda c: c["text_config"].update(model_type="gemma"), "text_config.model_type is 'gemma'"),
        (lambda c: c["text_config"].update(hidden_act="gelu"), "hidden_act is 'gelu'"),
        (lambda c: c["text_config"].update(num_attention_heads="six"), "text_config.num_attention_heads is 'six'"),
        (lambda c: c["text_config"].update(num_key_value_heads=4), "num_key_value_heads is 4.* divisor of the 6"),
        (lambda c: c["text_config"].update(head_dim=7), "head_dim is 7.* even"),
        (
            lambda c: c["vision_config"].update(model_type="vit"),
            "expected clip_vision_model or siglip_vision_model or dinov2",
        ),
        (
            lambda c: c["vision_config"].update(model_type="siglip_vision_model"),
            "'default'.* expected full",
        ),
        (
            lambda c: c["vision_config"].update(num_attention_heads=5),
            "heads is 5.* divisor of the width 32",
        ),
        (lambda c: c["vision_config"].update(num_channels=1), "num_channels is 1.* expected 3"),
        (lambda c: c["vision_config"].update(image_size=[56, 28]), "image_size is"),
        (lambda c: c["vision_config"].update(layer_norm_eps=10**400), "layer_norm_eps is 1000.*expected a finite"),
        (lambda c: c["text_config"].update(rms_norm_eps=float("inf")), "rms_norm_eps is inf.*expected a finite"),
        (lambda c: c["text_config"].update(vocab_size=10**400), "vocab_size is 1000.*expected"),
        (lambda c: c.update(image_token_index=10**400), "expected the id"),
    ],
)
def test_a_configuration_that_we_do_not_compile(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    _edit(folder / "config.json", change)
    with pytest.raises(CheckpointError, match=message) as error:
        family_of(Checkpoint.open(folder))
    _line(error)


def test_the_supported_model_types_are_the_modules() -> None:
    assert "llava" in supported()
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in supported())


def test_a_missing_tensor_is_named(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["language_model.model.layers.2.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors")
    weights = family_of(Checkpoint.open(folder)).decoder_weights("float32")
    with pytest.raises(CheckpointError) as error:
        weights.linear("layers.2.mlp.up_proj", 48, 96)
    layer = "language_model.model.layers.2.mlp"
    says(_line(error), f"{layer}.up_proj.weight", f"{layer}.down_proj.weight")


def test_a_tensor_of_another_shape_is_named(folder: Path) -> None:
    weights = family_of(Checkpoint.open(folder)).decoder_weights("float32")
    with pytest.raises(CheckpointError, match=r"norm\.weight has shape \[48\], but config\.json says \[64\]"):
        weights.vector("norm.weight", 64)


def test_a_checkpoint_without_its_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
        family_of(Checkpoint.open(folder))


def test_a_tokenizer_without_the_image_token(folder: Path) -> None:
    _edit(folder / "config.json", lambda config: config.update(image_token_index=505))
    with pytest.raises(CheckpointError) as error:
        family_of(Checkpoint.open(folder))
    says(_line(error), "image_token_id 505", "tokenizer.json")


@pytest.mark.parametrize("added", [None, 3, [3, None], [{"id": 502}]])
def test_a_tokenizer_that_cannot_be_loaded(folder: Path, added: object) -> None:
    _edit(folder / "tokenizer.json", lambda tokenizer: tokenizer.update(added_tokens=added))
    with pytest.raises(CheckpointError) as error:
        family_of(Checkpoint.open(folder))
    says(_line(error), "tokenizer", folder)


# --- weights that are no plain floats -----------------------------------------------------------------------


@pytest.mark.parametrize("part", ["", "text_config"])
@pytest.mark.parametrize("method", ["bitsandbytes", "mxfp4", "torchao", "hqq"])
def test_a_checkpoint_quantised_in_ways_that_are_not_read_is_refused_by_name(
    folder: Path, part: str, method: str
) -> None:
    settings = {"quantization_config": {"quant_method": method}}
    _edit(folder / "config.json", lambda config: (config[part] if part else config).update(settings))
    with pytest.raises(CheckpointError) as error:
        Checkpoint.open(folder)
    says(_line(error), "is quantised", method, "--quantize int4")


def test_a_config_that_calls_floats_quantised(folder: Path) -> None:
    settings = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    _edit(folder / "config.json", lambda config: config.update(settings))
    family = family_of(Checkpoint.open(folder))
    with pytest.raises(CheckpointError) as error:
        family.decoder_weights("float32")
    says(_line(error), "no tensor of gptq", folder)


@pytest.mark.parametrize(
    ("dtype", "found"), [(torch.uint8, "U8"), (torch.int8, "I8"), (torch.float8_e4m3fn, "F8_E4M3"), (None, "qweight")]
)
def test_quantised_weights_that_no_configuration_tells_of(folder: Path, dtype: torch.dtype | None, found: str) -> None:
    path, layer = folder / "model.safetensors", "language_model.model.layers.1.mlp.up_proj"
    tensors = load_file(path)
    weight = tensors.pop(f"{layer}.weight")
    tensors |= {f"{layer}.weight": weight.to(dtype)} if dtype else {f"{layer}.qweight": weight.to(torch.int32)}
    save_file(tensors, path)
    weights = family_of(Checkpoint.open(folder)).decoder_weights("float32")
    with pytest.raises(CheckpointError, match=rf"layers\.1\.mlp\.up_proj.*{found}") as error:
        weights.linear("layers.1.mlp.up_proj", 48, 96)
    _line(error)
