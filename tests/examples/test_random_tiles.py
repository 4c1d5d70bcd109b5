"""Random checkpoints of split pictures: the stock library loads every part, and finds no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from transformers import AutoModelForImageTextToText, AutoTokenizer

from examples.random_tiles import PRESETS, main, make, tensors


@pytest.mark.parametrize("preset", PRESETS)
def test_stock_model_finds_every_weight(tmp_path: Path, preset: str) -> None:
    folder = make(tmp_path / "model", PRESETS[preset])
    model, told = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert not any(told.values()), told
    assert sum(spec.size for spec in tensors(PRESETS[preset])) == sum(each.numel() for each in model.parameters())


@pytest.mark.parametrize("preset", PRESETS)
def test_every_token_is_in_the_vocabulary(tmp_path: Path, preset: str) -> None:
    folder = make(tmp_path / "model", PRESETS[preset])
    assert len(AutoTokenizer.from_pretrained(folder)) <= PRESETS[preset].shape.vocab


def test_the_command(tmp_path: Path) -> None:
    made = CliRunner().invoke(main, [str(tmp_path / "out"), "--preset", "tiny-idefics3"])
    assert made.exit_code == 0, made.output
    assert (tmp_path / "out" / "config.json").is_file()
    again = CliRunner().invoke(main, [str(tmp_path / "out")])
    assert (again.exit_code, "not an empty folder" in again.output) == (2, True)
