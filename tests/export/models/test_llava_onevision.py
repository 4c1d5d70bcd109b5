"""What the ``llava_onevision`` family reads of a config and of its processors' settings, and what it refuses."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LlavaOnevisionConfig
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

from clasp_trt.bundle import Anyres
from clasp_trt.errors import CheckpointError, ImageError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.description import SquareDescription
from clasp_trt.export.family import describe, family_of
from clasp_trt.notice import Notice
from clasp_trt.runtime.media.processors import processor
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.verify import compare
from examples.random_llava import PRESETS, make
from tests.export.models.filled import filled, lacking
from tests.export.models.published import ONEVISION
from tests.mistakes import says

PRESET = PRESETS["tiny-onevision"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("onevision") / "checkpoint", PRESET)


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def _edit(path: Path, *removed: str, **values: Any) -> None:
    content = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({name: value for name, value in content.items() if name not in removed}))


def _described(config: dict[str, Any]) -> SquareDescription:
    found = describe(config, "config.json", "x")
    assert isinstance(found, SquareDescription)
    return found


def _anyres(folder: Path, most: int | None = None) -> Anyres:
    found = family_of(Checkpoint.open(folder), most).media.image.processor
    assert isinstance(found, Anyres)
    return found


def test_defaults_are_the_librarys() -> None:
    found, theirs = _described({"model_type": "llava_onevision"}), LlavaOnevisionConfig()
    assert found.tiling is not None
    assert [list(each) for each in found.tiling.pinpoints] == theirs.image_grid_pinpoints
    assert (found.tiling.limit, found.tower.image_size, found.tower.layers, found.tower.feature_layer) == (
        9,
        384,
        26,
        26,
    )
    assert found.decoder.width == theirs.text_config.hidden_size
    assert found.image_token_id == theirs.image_token_id
    assert (found.tokens[1], found.tiles) == (7309, 37)


def test_whatever_is_left_out_is_filled_in_or_refused_as_in_transformers(whole: Path) -> None:
    config, read = json.loads((whole / "config.json").read_text()), set()
    for said, changed in lacking(config):
        theirs = filled(changed)
        try:
            found: object = _described(changed)
        except CheckpointError:
            continue
        if said in (".image_seq_length null", "text_config.head_dim null"):  # one is not read, one means the default
            continue
        assert theirs is not None, said
        assert found == _described(theirs), said
        read.add(said)
    assert len(read) > 20


@pytest.mark.parametrize("name", ONEVISION)
def test_parameters_are_those_of_the_library(name: str) -> None:
    from transformers import AutoConfig, AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(**copy.deepcopy(ONEVISION[name])))
    found = _described(ONEVISION[name])
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert found.capped(4096).tokens == (729, 2929, 3753)


def test_pictures(whole: Path) -> None:
    found = _anyres(whole)
    assert (found.tile, found.cell, found.limit, found.pinpoints) == (72, 14, 2, PRESET.pinpoints)
    assert family_of(Checkpoint.open(whole)).info.tokens == found.token_range == (25, 79, 100)


def test_a_cap_leaves_fewer_canvases(whole: Path) -> None:
    made = _anyres(whole, 85)
    assert made.pinpoints == ((72, 72), (72, 144), (144, 72), (72, 216))
    assert max(made.token_range) == 85


@pytest.mark.parametrize(
    "aspect", ["anyres", "anyres_max_", "anyres_max_0", "pad", "anyres_max_9x", "anyres_max_1000", 9, ["anyres_max_9"]]
)
def test_aspects_that_are_none(folder: Path, aspect: object) -> None:
    _edit(folder / "config.json", vision_aspect_ratio=aspect)
    with pytest.raises(CheckpointError) as error:
        family_of(Checkpoint.open(folder))
    says(error, "vision_aspect_ratio", "anyres_max_9")


@pytest.mark.parametrize(
    ("values", "removed"), [({"vision_aspect_ratio": "anyres_max_3"}, ()), ({}, ("vision_aspect_ratio",))]
)
def test_a_processor_that_counts_otherwise_than_the_model(
    folder: Path, values: dict[str, Any], removed: tuple[str, ...]
) -> None:
    _edit(folder / "processor_config.json", *removed, **values)
    with pytest.raises(CheckpointError) as error:
        family_of(Checkpoint.open(folder))
    says(
        error,
        "processor_config.json",
        "vision_aspect_ratio",
        "anyres_max_2",
        values.get("vision_aspect_ratio", "anyres_max_9"),
    )


@pytest.mark.parametrize(
    ("values", "facts"),
    [
        ({"image_processor_type": "LlavaNextImageProcessor"}, ("image_processor_type", "LlavaOnevisionImageProcessor")),
        ({"image_grid_pinpoints": [[72, 72]]}, ("image_grid_pinpoints", "config.json")),
        ({"image_grid_pinpoints": None}, ("image_grid_pinpoints", "config.json")),
        ({"size": {"height": 56, "width": 56}}, ("size", "72")),
        ({"size": None}, ("size", "72")),
        ({"crop_size": {"height": 36, "width": 36}}, ("36x36", "72x72")),
    ],
)
def test_processors_that_the_model_does_not_go_with(
    folder: Path, values: dict[str, Any], facts: tuple[str, ...]
) -> None:
    _edit(folder / "preprocessor_config.json", **values)
    with pytest.raises(CheckpointError) as error:
        _ = family_of(Checkpoint.open(folder)).media
    says(error, *facts)


@pytest.mark.parametrize(
    ("values", "removed"),
    [
        ({"size": {"shortest_edge": 72}}, ()),
        ({"crop_size": {"height": 72, "width": 72}, "do_center_crop": True}, ()),
        ({"crop_size": 72, "do_resize": False, "do_pad": False}, ()),
        ({"resample": 2, "do_normalize": None}, ()),
        ({"do_normalize": False}, ("image_std", "resample")),
        ({}, ("image_mean", "image_std", "do_convert_rgb", "rescale_factor")),
    ],
    ids=str,
)
def test_settings_are_read_as_transformers_reads_them(
    folder: Path, values: dict[str, Any], removed: tuple[str, ...]
) -> None:
    _edit(folder / "preprocessor_config.json", *removed, **values)
    pixels = np.random.default_rng(0).integers(0, 256, (110, 150, 3), dtype=np.uint8)
    seen = processor(_anyres(folder))(Image.fromarray(pixels))
    theirs = LlavaOnevisionImageProcessorPil.from_pretrained(folder)(Image.fromarray(pixels), return_tensors="np")
    np.testing.assert_array_equal(seen.vision["pixel_values"], theirs["pixel_values"][0])


def test_several_pictures(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError) as error:
        build(whole, tmp_path / "no", max_images=2)
    says(error, "--max-images", 2)


@pytest.mark.usefixtures("tracer")
@pytest.mark.parametrize("size", [(130, 140), pytest.param((300, 40), marks=pytest.mark.full)])
@pytest.mark.parametrize(
    "options", [{"budget": "paper:64"}, pytest.param({"prune_at": "encoder"}, marks=pytest.mark.full)]
)
def test_what_is_built_is_verified(whole: Path, tmp_path: Path, options: dict[str, Any], size: tuple[int, int]) -> None:
    bundle = build(whole, tmp_path / "bundle", max_context=512, **options)
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    report = compare(bundle, str(whole), [Image.fromarray(pixels)], "What is in the picture?")
    report.require()
    assert not report.skipped
    assert {check.stage for check in report.checks} >= {graph.name for graph in bundle.manifest.graphs}


@pytest.mark.full
def test_a_capped_bundle_makes_of_pictures_what_the_library_makes_with_fewer_canvases(
    whole: Path, tmp_path: Path
) -> None:
    with pytest.warns(Notice) as told:
        bundle = build(whole, tmp_path / "bundle", max_visual_tokens=80, budget="1/3", max_context=256)
    says(told[0].message, 80, 100)
    picture = Image.effect_noise((144, 144), 90).convert("RGB")  # which takes a canvas that is left out
    report = compare(bundle, str(whole), [picture], "What is it?")
    report.require()
    assert not report.skipped
