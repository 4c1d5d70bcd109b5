"""The random checkpoint: the stock library loads every part of it, and it is the same however it is stored."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoProcessor, AutoTokenizer, LlavaForConditionalGeneration

from examples import random_llava, random_weights
from examples.random_llava import PRESETS, Shape, main, make, tensors
from tests.started import own_environment

TINY = PRESETS["tiny"]


def _load(folder: Path) -> tuple[Any, dict[str, Any]]:
    return LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True)  # type: ignore[return-value]


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


@pytest.mark.parametrize(
    "shape",
    [
        TINY,
        replace(TINY, tie_word_embeddings=True),
        replace(TINY, heads=3, kv_heads=1, head_dim=10),
        PRESETS["tiny-siglip-qwen2"],
        PRESETS["tiny-mistral"],
        replace(TINY, decoder="qwen3"),
    ],
    ids=["untied", "tied", "wide heads", "siglip and qwen2", "mistral", "qwen3"],
)
def test_stock_model_finds_every_weight(tmp_path: Path, shape: Shape) -> None:
    model, info = _load(make(tmp_path / "model", shape))
    assert not any(info.values()), info
    assert model.model.vision_tower.config.num_hidden_layers == shape.vision_layers
    assert sum(spec.size for spec in tensors(shape)) == sum(p.numel() for p in model.parameters())


def test_prompt_and_picture_become_inputs(tmp_path: Path) -> None:
    folder = make(tmp_path / "model", TINY)
    processor: Any = AutoProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
    question = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is 图中 ✓?"}]}
    prompt = processor.apply_chat_template([question], add_generation_prompt=True)
    assert prompt == "USER: <image>\nWhat is 图中 ✓? ASSISTANT:"
    inputs = processor(images=Image.new("RGB", (90, 70), "red"), text=prompt, return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, TINY.image_size, TINY.image_size)
    ids = inputs["input_ids"][0].tolist()
    model, _ = _load(folder)
    assert ids[0] == model.config.text_config.bos_token_id
    assert ids.count(model.config.image_token_id) == TINY.tokens
    assert max(ids) < TINY.vocab
    logits = model(**inputs).logits
    assert logits.shape == (1, len(ids), TINY.vocab)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize(
    ("preset", "kind"), [("tiny", "CLIPImageProcessor"), ("tiny-siglip-qwen2", "SiglipImageProcessor")]
)
def test_pictures_are_made_by_the_tower_s_own_processor(tmp_path: Path, preset: str, kind: str) -> None:
    shape = random_llava.PRESETS[preset]
    processor: Any = AutoProcessor.from_pretrained(make(tmp_path / "model", shape))  # type: ignore[no-untyped-call]
    assert type(processor.image_processor).__name__.removesuffix("Pil") == kind
    inputs = processor(images=Image.new("RGB", (90, 70), "red"), text="<image>", return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, shape.image_size, shape.image_size)
    assert inputs["input_ids"][0].tolist().count(processor.image_token_id) == shape.tokens


def test_the_tokenizer_file_alone_encodes_as_the_library_does(tmp_path: Path) -> None:
    folder = make(tmp_path / "model", TINY)
    library, alone = AutoTokenizer.from_pretrained(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = "USER: <image>\nWhat is 图中 <0x41> ✓ é? ASSISTANT:"
    ids = alone.encode(text).ids
    assert ids == library(text)["input_ids"]
    assert alone.decode(alone.encode("Read 图中 <0x41> ✓ é").ids) == "Read 图中 <0x41> ✓ é"


def test_same_weights_in_any_number_of_shards(tmp_path: Path) -> None:
    one = make(tmp_path / "one", TINY, seed=3)
    four = make(tmp_path / "four", TINY, seed=3, shards=4)
    assert len(list(four.glob("model-*-of-00004.safetensors"))) == 4
    assert not any(_load(four)[1].values())
    whole, pieces = _weights(one), _weights(four)
    assert whole.keys() == pieces.keys()
    assert all(torch.equal(whole[name], pieces[name]) for name in whole)
    other = _weights(make(tmp_path / "other", TINY, seed=4))
    assert not any(torch.equal(whole[name], other[name]) for name in whole)


def test_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = make(tmp_path / "a", TINY), tmp_path / "b"
    # In another process, which hashes strings in another way.
    command = [sys.executable, "-m", random_llava.__name__, second, "--preset", "tiny"]
    subprocess.run(command, env=own_environment(), check=True)
    names = sorted(file.name for file in first.iterdir())
    assert names == sorted(file.name for file in second.iterdir())
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_the_rounded_single(tmp_path: Path, dtype: Any) -> None:
    full = _weights(make(tmp_path / "full", TINY))
    half = _weights(make(tmp_path / "half", TINY, dtype=dtype))
    assert all(torch.equal(half[name], full[name].to(getattr(torch, dtype))) for name in full)


def test_answers_neither_stop_nor_repeat_one_token_and_depend_on_the_picture(tmp_path: Path) -> None:
    folder = make(tmp_path / "model", PRESETS["small"])
    model, _ = _load(folder)
    tokens = PRESETS["small"].tokens
    ids = torch.tensor([[1, 40, *[model.config.image_token_id] * tokens, 50, 60, 70]])
    answers = []
    for seed in range(2):
        pixels = torch.randn(1, 3, 112, 112, generator=torch.Generator().manual_seed(seed))
        output = model.generate(pixel_values=pixels, input_ids=ids, max_new_tokens=32, do_sample=False)
        answers.append(output[0, ids.shape[1] :].tolist())
    assert [len(answer) for answer in answers] == [32, 32]
    assert min(len(set(answer)) for answer in answers) > 8
    assert answers[0] != answers[1]


def test_the_large_preset_is_clip_l_before_tinyllama() -> None:
    specs = list(tensors(PRESETS["tinyllama-1.1b"]))
    decoder = sum(spec.size for spec in specs if spec.name.startswith("language_model"))
    tower = sum(spec.size for spec in specs if spec.name.startswith("vision_tower"))
    # TinyLlama-1.1B has 1,100,048,384 parameters at a vocabulary of 32,000; ours has 64 more rows, twice.
    assert decoder == 1_100_048_384 + 2 * 64 * 2048
    assert tower == 303_507_456  # CLIP-L/14 at 336 pixels


def test_bad_shapes_and_destinations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="image_size 57"):
        replace(TINY, image_size=57)
    with pytest.raises(ValueError, match="4 kv_heads"):
        replace(TINY, kv_heads=4)
    with pytest.raises(ValueError, match="9999 shards"):
        make(tmp_path / "many", TINY, shards=9999)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    result = CliRunner().invoke(main, [str(tmp_path / "full"), "--preset", "tiny"])
    assert result.exit_code == 2
    assert "is not an empty folder" in result.output


def test_an_interrupted_run_leaves_nothing_that_looks_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def interrupted(path: Path, *arguments: Any) -> None:
        written.extend(path.parent.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(random_weights, "_write_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "new" / "model", TINY)
    assert written, "interrupted among the files, not before them"
    assert not list((tmp_path / "new").iterdir())


def test_an_empty_folder_is_a_destination(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "model")
    assert not any(_load(make(tmp_path / "link", TINY))[1].values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "model"]


def test_command_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, [str(tmp_path / "out"), "--preset", "tiny", "--dtype", "float16", "--shards", "2"]
    )
    assert result.exit_code == 0, result.output
    assert np.all([(tmp_path / "out" / name).is_file() for name in ("config.json", "model.safetensors.index.json")])
