"""What the ``internvl`` family reads of a config, of image settings and of a tokenizer, and what it refuses."""

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

from clasp_trt.bundle import Frames, Ratio, Run
from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.description import MergingDescription
from clasp_trt.export.family import describe, family_of, read_description
from clasp_trt.filming import Sampling
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.verify import compare
from examples.random_tiles import PRESETS, make
from tests.export.models.filled import filled, lacking
from tests.export.models.published import INTERNVL
from tests.mistakes import says


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("internvl") / "checkpoint", PRESETS["tiny-internvl"])


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def _edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def _described(config: dict[str, Any]) -> MergingDescription:
    found = describe(config, "config.json", "x")
    assert isinstance(found, MergingDescription)
    return found


@pytest.mark.parametrize("name", INTERNVL)
def test_parameters_are_those_of_the_library(name: str) -> None:
    from transformers import AutoConfig, AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(**copy.deepcopy(INTERNVL[name])))
    found = _described(INTERNVL[name])
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (found.tokens, found.tiles) == ((256, 3328, 3328), 13)


@pytest.mark.parametrize("preset", ["tiny-internvl", "tiny-internvl-qwen3"])
def test_whatever_is_left_out_is_filled_in_or_refused_as_in_transformers(tmp_path: Path, preset: str) -> None:
    config = json.loads((make(tmp_path / "model", PRESETS[preset]) / "config.json").read_text())
    read = set()
    for said, changed in lacking(config):
        theirs = filled(changed)
        try:
            found: object = describe(changed, "config.json", "x")
        except CheckpointError:
            continue
        if said in (".image_seq_length null", "text_config.head_dim null"):  # one is not read, one means the default
            continue
        assert theirs is not None, said
        assert found == describe(theirs, "config.json", "x"), said
        read.add(said)
    assert len(read) > 20
    assert describe({"model_type": "internvl"}, "c", "x") == describe(filled({"model_type": "internvl"}), "c", "x")


@pytest.mark.parametrize(
    ("place", "values", "facts"),
    [
        ("", {"vision_feature_select_strategy": "full"}, ["vision_feature_select_strategy", "default"]),
        ("", {"vision_feature_layer": [-1, -2]}, ["vision_feature_layer"]),
        ("", {"vision_feature_layer": 9}, ["vision_feature_layer", 4]),
        ("", {"downsample_ratio": 0.3}, ["downsample_ratio", 0.5]),
        ("vision_config", {"image_size": [56, 70]}, ["vision_config.image_size"]),
        ("vision_config", {"image_size": 42}, ["downsample_ratio", 3]),
        ("vision_config", {"use_mean_pooling": False}, ["vision_config.use_mean_pooling"]),
        ("vision_config", {"use_absolute_position_embeddings": False}, ["use_absolute_position_embeddings"]),
        ("vision_config", {"norm_type": "group_norm"}, ["vision_config.norm_type", "rms_norm"]),
        ("text_config", {"model_type": "novelty"}, ["text_config.model_type", "qwen2", "llama", "qwen3"]),
    ],
)
def test_variants_that_are_not_compiled(whole: Path, place: str, values: dict[str, Any], facts: list[Any]) -> None:
    config = json.loads((whole / "config.json").read_text())
    (config[place] if place else config).update(values)
    with pytest.raises(CheckpointError) as refused:
        describe(config, "config.json", "x")
    says(refused, *facts)


@pytest.mark.parametrize(
    ("name", "converted"),
    [("OpenGVLab/InternVL3-2B", "OpenGVLab/InternVL3-2B-hf"), ("/models/mine", "OpenGVLab/InternVL3-8B-hf")],
)
def test_the_layout_with_code_of_its_own_is_refused_by_the_name_of_the_converted_one(
    tmp_path: Path, name: str, converted: str
) -> None:
    config = {"model_type": "internvl_chat", "auto_map": {"AutoModel": "modeling_internvl_chat.InternVLChatModel"}}
    (tmp_path / "config.json").write_text(json.dumps({**config, "llm_config": {"model_type": "qwen2"}}))
    with pytest.raises(CheckpointError) as refused:
        read_description(tmp_path / "config.json", name)
    says(refused, "internvl_chat", converted)


def test_pictures(whole: Path) -> None:
    made = family_of(Checkpoint.open(whole))
    processor, layout = made.media.image.processor, made.media.image.layout
    assert isinstance(processor, Ratio)
    assert (processor.tile, processor.patch, processor.merge, processor.least, processor.most) == (56, 14, 2, 1, 6)
    assert made.info.tokens == processor.token_range == (4, 28, 28)
    assert isinstance(layout, Run)
    assert (layout.before, layout.token, layout.placeholder, layout.after) == (
        "<img>", "<IMG_CONTEXT>", "<IMG_CONTEXT>", "</img>",
    )  # fmt: skip


def test_tiles_are_as_many_as_the_settings_say(folder: Path) -> None:
    _edit(folder / "preprocessor_config.json", max_patches=9, min_patches=2)
    made = family_of(Checkpoint.open(folder))
    assert made.media.image.processor.token_range == (12, 28, 40)
    assert made.info.tokens == made.media.token_range == (4, 28, 40), "a clip may be of one frame"
    capped = family_of(Checkpoint.open(folder), most_tokens=30)
    assert capped.media.image.processor.token_range == (12, 28, 28)
    assert capped.info.tokens == capped.media.token_range == (4, 28, 28)


def test_clips(folder: Path) -> None:
    found = family_of(Checkpoint.open(folder)).media.video
    assert found is not None
    assert found.sampling == Sampling("middle", 7), "as many as have room beside no picture"
    assert isinstance(found.processor.frame, Ratio)
    assert (found.processor.frame.tile, found.processor.frame.token_range) == (56, (4, 4, 4))
    assert found.layout == Frames(
        "<video>", "<IMG_CONTEXT>", found.layout.id, "", "Frame{number}: <img>", "</img>", "\n", ""
    )
    assert [family_of(Checkpoint.open(folder), *given).info.tokens[2] for given in ((8,), (8, 3), (8, 3, 9))] == [
        4, 12, 36,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "sampling"),
    [
        ({"num_frames": 5}, Sampling("middle", 5)),
        ({"num_frames": 32, "fps": 2}, Sampling("middle", 7)),
        ({"fps": 2, "initial_shift": False}, Sampling("even", 7, 2.0)),
    ],
)
def test_frames_are_those_of_the_settings(folder: Path, values: dict[str, Any], sampling: Sampling) -> None:
    _write_video(folder, **values)
    found = family_of(Checkpoint.open(folder)).media
    assert found.video is not None
    assert (found.video.sampling, found.token_range) == (sampling, (4, 28, 28))


def test_without_a_word_for_them_there_are_no_clips(folder: Path) -> None:
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("<video>", ""))
    made = family_of(Checkpoint.open(folder))
    assert (made.media.video, made.description.clip_tokens, made.info.tokens) == (None, None, (4, 28, 28))


def test_without_a_name_for_them_there_are_no_clips(folder: Path) -> None:
    named = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    _edit(folder / "tokenizer_config.json", extra_special_tokens=named)
    (folder / "special_tokens_map.json").unlink()
    assert family_of(Checkpoint.open(folder)).media.video is None


def _write_video(folder: Path, **values: Any) -> None:
    settings = {"video_processor_type": "InternVLVideoProcessor", "size": {"height": 56, "width": 56}, **values}
    (folder / "video_preprocessor_config.json").write_text(json.dumps(settings))


@pytest.mark.parametrize(
    ("values", "facts"),
    [
        ({"video_processor_type": "Qwen2VLVideoProcessor"}, ["video_processor_type", "InternVLVideoProcessor"]),
        ({"size": {"height": 384, "width": 384}}, ["size", 56]),
        ({"do_resize": False}, ["do_resize"]),
        ({"do_center_crop": True}, ["do_center_crop", "false"]),
        ({"initial_shift": 0.5}, ["initial_shift", 0.5]),
        ({"num_frames": 0}, ["num_frames", 1]),
        ({"num_frames": True}, ["num_frames"]),
        ({"fps": -1}, ["fps", -1]),
        ({"image_mean": [1]}, ["image_mean"]),
    ],
)
def test_video_settings_that_are_not_followed(folder: Path, values: dict[str, Any], facts: list[Any]) -> None:
    _write_video(folder, **values)
    with pytest.raises(CheckpointError) as refused:
        family_of(Checkpoint.open(folder))
    says(refused, "video settings", *facts)


@pytest.mark.parametrize(
    ("file", "values", "facts"),
    [
        ("preprocessor_config.json", {"image_processor_type": "CLIPImageProcessor"}, ["GotOcr2ImageProcessor"]),
        ("preprocessor_config.json", {"size": {"height": 384, "width": 384}}, ["size", 56]),
        ("preprocessor_config.json", {"max_patches": 0}, ["max_patches"]),
        ("preprocessor_config.json", {"max_patches": 2000}, ["max_patches", 256]),
        ("preprocessor_config.json", {"min_patches": 7}, ["min_patches", 6]),
        ("preprocessor_config.json", {"max_patches": 1, "do_resize": False}, ["do_resize"]),
        ("preprocessor_config.json", {"image_std": [1, 1, 0]}, ["image_std"]),
        ("processor_config.json", {"image_seq_length": 256}, ["image_seq_length", 256, 4]),
    ],
)  # fmt: skip
def test_files_that_the_model_does_not_go_with(
    folder: Path, file: str, values: dict[str, Any], facts: list[Any]
) -> None:
    _edit(folder / file, **values)
    with pytest.raises(CheckpointError) as refused:
        _ = family_of(Checkpoint.open(folder)).media
    says(refused, *facts)


@pytest.mark.parametrize(
    ("named", "facts"),
    [
        ({}, ["start_image_token", "<IMG_CONTEXT>"]),
        ({"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<video>"}, ["<video>"]),
    ],
)
def test_a_tokenizer_names_what_stands_around_pictures(folder: Path, named: dict[str, str], facts: list[str]) -> None:
    _edit(folder / "tokenizer_config.json", extra_special_tokens=named)
    (folder / "special_tokens_map.json").unlink()
    with pytest.raises(CheckpointError) as refused:
        family_of(Checkpoint.open(folder))
    says(refused, *facts)


@pytest.mark.full
@pytest.mark.usefixtures("tracer")
@pytest.mark.parametrize("preset", ["tiny-internvl", "tiny-internvl-qwen3"])
@pytest.mark.parametrize("options", [{"budget": "paper:64"}, {"prune_at": "encoder"}])
def test_what_is_built_is_verified(tmp_path: Path, options: dict[str, Any], preset: str) -> None:
    checkpoint = make(tmp_path / "model", PRESETS[preset])
    bundle = build(checkpoint, tmp_path / "bundle", max_context=512, **options)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    report = compare(bundle, str(checkpoint), [Image.fromarray(pixels)], "What is in the picture?")
    report.require()
    assert {check.stage for check in report.checks} >= {graph.name for graph in bundle.manifest.graphs}
