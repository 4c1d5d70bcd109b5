"""What the ``llava_next`` family reads of a config and of an image processor's settings, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import LlavaNextConfig

from clasp_trt.bundle import Anyres
from clasp_trt.errors import CheckpointError, ScheduleError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.family import family_of, read_description
from clasp_trt.notice import Notice
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.verify import compare
from examples.random_llava import PRESETS, make
from tests.mistakes import says


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("next") / "checkpoint", PRESETS["tiny-next"])


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def _edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_defaults_are_the_librarys(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava_next"}))
    found = read_description(tmp_path / "config.json", "x")
    assert found.tiling is not None
    assert [list(each) for each in found.tiling.pinpoints] == LlavaNextConfig().image_grid_pinpoints
    assert (found.tower.image_size, found.tower.layers, found.decoder.layers) == (336, 24, 32)
    assert found.tokens == (576, found.tiling.count(504, 672), 2928)
    assert found.tiles == 5


def test_parameters_are_those_of_the_library(whole: Path) -> None:
    from transformers import LlavaNextForConditionalGeneration

    model = LlavaNextForConditionalGeneration(LlavaNextConfig.from_pretrained(whole))
    found = read_description(whole / "config.json", "x")
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_pictures(whole: Path) -> None:
    made = family_of(Checkpoint.open(whole))
    processor = made.media.image.processor
    assert isinstance(processor, Anyres)
    assert (processor.tile, processor.cell, processor.pinpoints) == (56, 14, PRESETS["tiny-next"].pinpoints)
    assert made.info.tokens == processor.token_range == (16, 70, 88)


@pytest.mark.parametrize(
    ("most", "left"),
    [(88, PRESETS["tiny-next"].pinpoints), (72, ((56, 112), (112, 56), (56, 168))), (52, ((56, 112),))],
)
def test_a_cap_leaves_fewer_canvases(whole: Path, most: int, left: tuple[tuple[int, int], ...]) -> None:
    made = family_of(Checkpoint.open(whole), most)
    processor = made.media.image.processor
    assert isinstance(processor, Anyres)
    assert processor.pinpoints == left
    assert made.info.tokens == processor.token_range


@pytest.mark.full
def test_a_capped_bundle_makes_of_pictures_what_the_library_makes_with_fewer_canvases(
    whole: Path, tmp_path: Path
) -> None:
    with pytest.warns(Notice) as told:
        bundle = build(whole, tmp_path / "bundle", max_visual_tokens=72, budget="1/3", max_context=256)
    says(told[0].message, 68, 88)
    picture = Image.effect_noise((112, 112), 90).convert("RGB")  # which takes a canvas that is left out
    compare(bundle, str(whole), [picture], "What is it?").require()


def test_a_cap_below_every_canvas(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(ScheduleError) as error:
        build(whole, tmp_path / "no", max_visual_tokens=40)
    says(error, "--max-visual-tokens", 40, 52)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    "pinpoints", [[], [56, 112], [[56, 112, 56]], [[56, 100]], [[0, 56]], [["56", 56]], [[5600, 56]], "all", {}]
)
def test_canvases_that_are_none(folder: Path, pinpoints: object) -> None:
    _edit(folder / "config.json", image_grid_pinpoints=pinpoints)
    with pytest.raises(CheckpointError) as error:
        read_description(folder / "config.json", "x")
    says(error, "image_grid_pinpoints", "56")


@pytest.mark.parametrize(
    ("values", "facts"),
    [
        ({"image_processor_type": "CLIPImageProcessor"}, ("image_processor_type", "LlavaNextImageProcessor")),
        ({"image_grid_pinpoints": [[56, 56]]}, ("image_grid_pinpoints", "config.json")),
        ({"size": {"shortest_edge": 28}}, ("size", "56")),
        ({"size": {"shortest_edge": 28}, "do_resize": False}, ("size", "56")),
        ({"size": {"shortest_edge": 112}, "crop_size": {"height": 112, "width": 112}}, ("112x112", "56x56")),
    ],
)
def test_processors_that_the_model_does_not_go_with(
    folder: Path, values: dict[str, Any], facts: tuple[str, ...]
) -> None:
    _edit(folder / "preprocessor_config.json", **values)
    with pytest.raises(CheckpointError) as error:
        _ = family_of(Checkpoint.open(folder)).media
    says(error, *facts)


def test_a_processor_that_names_no_canvases_has_the_librarys(folder: Path) -> None:
    """And not those of config.json, which it never reads."""
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    del settings["image_grid_pinpoints"]
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError) as error:
        _ = family_of(Checkpoint.open(folder)).media
    says(error, "image_grid_pinpoints", "config.json")


@pytest.mark.usefixtures("tracer")
@pytest.mark.parametrize("size", [(80, 60), pytest.param((300, 40), marks=pytest.mark.full)])
@pytest.mark.parametrize(
    "options", [{"budget": "paper:64"}, pytest.param({"prune_at": "encoder"}, marks=pytest.mark.full)]
)
def test_what_is_built_is_verified(whole: Path, tmp_path: Path, options: dict[str, Any], size: tuple[int, int]) -> None:
    bundle = build(whole, tmp_path / "bundle", max_context=512, **options)
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    report = compare(bundle, str(whole), [Image.fromarray(pixels)], "What is in the picture?")
    report.require()
    assert {check.stage for check in report.checks} >= {graph.name for graph in bundle.manifest.graphs}
