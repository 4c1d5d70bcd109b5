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

from clasp_trt.bundle import Anyres, Mixed, Stills
from clasp_trt.bundle.clip_settings import STD
from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.description import SquareDescription
from clasp_trt.export.family import describe, family_of
from clasp_trt.filming import Sampling
from clasp_trt.notice import Notice
from clasp_trt.runtime.media.processors import processor
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.verify import compare
from examples.random_llava import PRESETS, make
from tests.export.models.filled import filled, lacking
from tests.export.models.published import ONEVISION
from tests.mistakes import says

HALF = (0.5, 0.5, 0.5)
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
    assert (found.picture_tokens[1], found.tiles) == (7309, 37)
    assert found.film is not None
    assert found.film.token == theirs.video_token_id


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
    assert found.capped(4096).picture_tokens == (729, 2929, 3753)


def test_pictures(whole: Path) -> None:
    found = _anyres(whole)
    assert (found.tile, found.cell, found.limit, found.pinpoints) == (72, 14, 2, PRESET.pinpoints)
    assert found.token_range == (25, 79, 100)


def test_a_cap_leaves_fewer_canvases(whole: Path) -> None:
    made = _anyres(whole, 85)
    assert made.pinpoints == ((72, 72), (72, 144), (144, 72), (72, 216))
    assert max(made.token_range) == 85


def test_clips(whole: Path) -> None:
    """As many frames as have room where pictures have theirs: 11 of 9 tokens, and the end of the clip."""
    made = family_of(Checkpoint.open(whole))
    video = made.media.video
    assert video is not None
    assert video.processor == Stills(Mixed(72, 14, 3, False, "bicubic", 1 / 255, HALF, HALF), ends=True)
    assert (video.sampling, video.token_range) == (Sampling("even", 11), (10, 100))
    assert made.info.tokens == made.media.token_range == (10, 79, 100)
    more = family_of(Checkpoint.open(whole), frames=20)
    assert more.info.tokens == more.media.token_range == (10, 79, 181)


def test_a_published_clip_has_196_tokens_a_frame() -> None:
    found = _described(ONEVISION["llava-onevision-qwen2-7b-ov"])
    assert found.clip_tokens == (197, 32 * 196 + 1)
    assert found.capped(4096).clip_tokens == (197, 19 * 196 + 1)


def test_a_template_without_clips_has_none(folder: Path) -> None:
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("<video>", "<image>"))
    assert family_of(Checkpoint.open(folder)).media.video is None


@pytest.mark.parametrize(
    ("values", "facts"),
    [
        ({"video_processor_type": "Qwen2VLVideoProcessor"}, ("video_processor_type", "LlavaOnevisionVideoProcessor")),
        ({"size": {"height": 56, "width": 56}}, ("56x56", "72x72")),
        ({"size": {"shortest_edge": 72}}, ("do_center_crop",)),
        ({}, ("384x384", "72x72")),
        ({"num_frames": 0}, ("num_frames",)),
    ],
    ids=str,
)
def test_video_settings_that_the_model_does_not_go_with(
    folder: Path, values: dict[str, Any], facts: tuple[str, ...]
) -> None:
    (folder / "video_preprocessor_config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError) as error:
        _ = family_of(Checkpoint.open(folder)).media
    says(error, *facts)


def test_video_settings_of_their_own_are_read(folder: Path) -> None:
    own = {"size": {"height": 72, "width": 72}, "resample": 2, "image_mean": [0.1, 0.2, 0.3], "num_frames": 4}
    (folder / "video_preprocessor_config.json").write_text(json.dumps(own))
    video = family_of(Checkpoint.open(folder)).media.video
    assert video is not None
    frame = video.processor.frame
    assert isinstance(frame, Mixed)
    assert (frame.resample, frame.mean, frame.std, video.sampling.frames) == ("bilinear", (0.1, 0.2, 0.3), STD, 4)


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
    (folder / "video_preprocessor_config.json").write_text(json.dumps({"size": {"height": 72, "width": 72}}))
    pixels = np.random.default_rng(0).integers(0, 256, (110, 150, 3), dtype=np.uint8)
    seen = processor(_anyres(folder))(Image.fromarray(pixels))
    theirs = LlavaOnevisionImageProcessorPil.from_pretrained(folder)(Image.fromarray(pixels), return_tensors="np")
    np.testing.assert_array_equal(seen.vision["pixel_values"], theirs["pixel_values"][0])


def test_each_of_several_pictures_is_one_square(folder: Path) -> None:
    _edit(folder / "preprocessor_config.json", image_mean=[0.1, 0.5, 1.0])
    one, made = family_of(Checkpoint.open(folder)), family_of(Checkpoint.open(folder), images=5)
    found = made.media.several
    assert one.media.several is None
    assert found == Mixed(72, 14, 5, True, "bicubic", 1 / 255, (0.1, 0.5, 1.0), HALF, background=(25, 127, 255))
    assert made.info.tokens == made.media.token_range == (10, 79, 5 * 26)
    assert family_of(Checkpoint.open(folder), images=2).info.tokens == (10, 79, 100)


@pytest.mark.parametrize("values", [{"image_mean": 0.5}, {"image_mean": [0.5, 0.5, 2]}, {"do_resize": False}], ids=str)
def test_settings_by_which_several_pictures_are_no_squares(folder: Path, values: dict[str, Any]) -> None:
    _edit(folder / "preprocessor_config.json", **values)
    (folder / "video_preprocessor_config.json").write_text(json.dumps({"size": {"height": 72, "width": 72}}))
    assert family_of(Checkpoint.open(folder)).media.images == 1
    with pytest.raises(CheckpointError) as error:
        _ = family_of(Checkpoint.open(folder), images=2).media
    says(error, *values, "--max-images")


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
