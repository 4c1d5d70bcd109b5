"""Without its weights a folder says what an export makes of it: how large pictures are, too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.family import describe_folder, family_of
from examples import random_qwen, random_tiles
from tests.mistakes import says

OWN, SHARED = "preprocessor_config.json", "processor_config.json"
MAKERS = {
    **{name: (random_qwen, f"tiny-{name}") for name in ("qwen2", "qwen2.5", "qwen3")},
    **{name: (random_tiles, f"tiny-{name}") for name in ("internvl", "idefics3", "smolvlm")},
}


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    maker, preset = MAKERS[request.param]
    return maker.make(tmp_path / "model", maker.PRESETS[preset])  # type: ignore[attr-defined,no-any-return]


def resized(folder: Path) -> None:
    """Half as many pixels, tiles or pixels of an edge as before."""
    settings = json.loads((folder / OWN).read_text())
    for name in ("max_pixels", "max_patches"):
        if name in settings:
            settings[name] //= 2
    if "longest_edge" in settings.get("size", {}):
        settings["size"]["longest_edge"] //= 2
    (folder / OWN).write_text(json.dumps(settings))


@pytest.mark.parametrize("folder", MAKERS, indirect=True)
def test_pictures_are_those_of_an_export(folder: Path) -> None:
    before = describe_folder(folder, "x").picture_tokens
    assert before == family_of(Checkpoint.open(folder)).description.picture_tokens
    resized(folder)
    after = describe_folder(folder, "x")
    assert after.picture_tokens == family_of(Checkpoint.open(folder)).description.picture_tokens
    assert after.picture_tokens[-1] < before[-1]


@pytest.mark.parametrize("folder", ["qwen2.5"], indirect=True)
def test_settings_may_lie_in_the_shared_file_or_nowhere(folder: Path) -> None:
    found = describe_folder(folder, "x")
    own = folder / OWN
    (folder / SHARED).write_text(json.dumps({"image_processor": json.loads(own.read_text())}))
    own.unlink()
    assert describe_folder(folder, "x") == found
    (folder / SHARED).write_text("{}")
    assert describe_folder(folder, "x").picture_tokens[-1] == 16384


@pytest.mark.parametrize("folder", ["qwen2.5"], indirect=True)
def test_settings_that_cannot_be_used_are_refused(folder: Path) -> None:
    (folder / OWN).write_text(json.dumps({"size": {"shortest_edge": 3136}}))
    with pytest.raises(CheckpointError) as refused:
        describe_folder(folder, "x")
    says(refused, "size", "longest_edge")
