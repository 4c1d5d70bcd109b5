"""How a checkpoint wants its tokens chosen: which file says so, and what is refused before anything is exported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import clasp_trt
from clasp_trt.bundle import Bundle
from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.generation import generation
from clasp_trt.generation import Generation
from tests.mistakes import says

VOCABULARY = 512


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def read(folder: Path) -> Generation:
    return generation(Checkpoint.open(folder), VOCABULARY)


def test_the_file_decides(folder: Path) -> None:
    edit(folder / "config.json", repetition_penalty=3.0)
    edit(folder / "generation_config.json", no_repeat_ngram_size=2)
    assert read(folder) == Generation(no_repeat_ngram_size=2)


def test_without_the_file_the_config_does(folder: Path) -> None:
    """As configs of old have it: the whole before the decoder's part, and a length that was the library's default."""
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    old = {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "max_length": 20, "top_k": 50}
    text = {**config["text_config"], **old}
    edit(folder / "config.json", text_config=text, no_repeat_ngram_size=3, min_length=0)
    assert read(folder) == Generation(repetition_penalty=1.5, no_repeat_ngram_size=3, top_k=50)


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"num_beams": 4}, ("num_beams", 4)),
        ({"repetition_penalty": -1}, ("repetition_penalty", -1)),
        ({"bad_words_ids": [[VOCABULARY + 9]]}, ("bad_words_ids", VOCABULARY + 9)),
    ],
)
def test_what_cannot_be_honoured_ends_a_build_at_once(
    folder: Path, tmp_path: Path, settings: dict[str, Any], facts: tuple[object, ...]
) -> None:
    edit(folder / "generation_config.json", **settings)
    with pytest.raises(CheckpointError) as error:
        clasp_trt.build(folder, tmp_path / "out")
    says(error, folder / "generation_config.json", *facts)
    assert not (tmp_path / "out").exists()


def test_a_bundle_says_what_its_checkpoint_said(built: Callable[..., Bundle]) -> None:
    """Also one that was completed from a portable bundle."""
    assert built(target=None).manifest.generation == built().manifest.generation == Generation()
