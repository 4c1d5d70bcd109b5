"""The random Qwen checkpoints: the stock library loads every part of them, and they are the same in every process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from transformers import AutoModelForImageTextToText, AutoTokenizer

from examples import random_qwen
from examples.random_qwen import PRESETS, SPECIAL, main, make, tensors
from tests.started import own_environment


@pytest.mark.parametrize("preset", [preset for preset in PRESETS if preset.startswith("tiny")])
def test_stock_model_finds_every_weight(tmp_path: Path, preset: str) -> None:
    folder = make(tmp_path / "model", PRESETS[preset])
    model, info = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    assert sum(spec.size for spec in tensors(PRESETS[preset])) == model.num_parameters()


def test_preset_of_a_true_shape_has_the_published_parameters() -> None:
    assert sum(spec.size for spec in tensors(PRESETS["qwen2.5-vl-7b"])) == 8_292_166_656


def test_special_tokens_are_one_each(tmp_path: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(make(tmp_path / "model", PRESETS["tiny-qwen2.5"]))
    text = "What is <|vision_start|><|image_pad|><|vision_end|>图中 ✓?"
    assert [token for token in tokenizer.tokenize(text) if token in SPECIAL] == [SPECIAL[3], SPECIAL[6], SPECIAL[4]]
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = make(tmp_path / "a", PRESETS["tiny-qwen2.5"]), tmp_path / "b"
    # In another process, which hashes strings in another way.
    command = [sys.executable, "-m", random_qwen.__name__, second, "--preset", "tiny-qwen2.5"]
    subprocess.run(command, env=own_environment(), check=True)
    names = sorted(file.name for file in first.iterdir())
    assert names == sorted(file.name for file in second.iterdir())
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 2
    assert str(tmp_path) in result.output
    assert [file.name for file in tmp_path.iterdir()] == ["note"]
