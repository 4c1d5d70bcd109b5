"""What the ``idefics3`` and ``smolvlm`` families read of a config, of image settings and of a tokenizer, and what they
refuse."""

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
from transformers import AutoTokenizer
from transformers.models.smolvlm import processing_smolvlm

from clasp_trt.bundle import Frames, Longest, Tiles
from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.family import describe, family_of
from clasp_trt.export.models import smolvlm
from clasp_trt.filming import Sampling
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.verify import compare
from examples.random_tiles import PRESETS, make
from tests.export.models.filled import filled, lacking
from tests.export.models.published import IDEFICS3
from tests.mistakes import says

KINDS = ("idefics3", "smolvlm")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("idefics3") / "checkpoint", PRESETS["tiny-idefics3"])


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def _edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", IDEFICS3)
def test_parameters_are_those_of_the_library(name: str, kind: str) -> None:
    from transformers import AutoConfig, AutoModelForImageTextToText

    config = {**IDEFICS3[name], "model_type": kind}
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(**copy.deepcopy(config)))
    assert describe(config, "config.json", "x").parameters == sum(each.numel() for each in model.parameters())


def test_tokens_of_published_checkpoints() -> None:
    found = {name: describe(config, "config.json", "x").tokens for name, config in IDEFICS3.items()}
    assert found == {
        "SmolVLM-256M": (320, 832, 1088),
        "SmolVLM-500M": (320, 832, 1088),
        "SmolVLM-2.2B": (405, 1053, 1377),
        "Idefics3-8B": (845, 2197, 2873),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_left_out_is_filled_in_or_refused_as_in_transformers(whole: Path, kind: str) -> None:
    config = {**json.loads((whole / "config.json").read_text()), "model_type": kind}
    read = set()
    for said, changed in lacking(config):
        theirs = filled(changed)
        try:
            found: object = describe(changed, "config.json", "x")
        except CheckpointError:
            continue
        assert theirs is not None, said
        assert found == describe(theirs, "config.json", "x"), said
        read.add(said)
    assert len(read) > 20


@pytest.mark.parametrize(
    ("place", "values", "facts"),
    [
        ("", {"scale_factor": 3}, ["scale_factor", 4]),
        ("", {"scale_factor": 0}, ["scale_factor"]),
        ("vision_config", {"hidden_size": 33}, ["num_attention_heads", 33]),
        ("vision_config", {"image_size": [56, 56]}, ["vision_config.image_size"]),
        ("text_config", {"model_type": "novelty"}, ["text_config.model_type", "llama"]),
    ],
)
def test_variants_that_are_not_compiled(whole: Path, place: str, values: dict[str, Any], facts: list[Any]) -> None:
    config = json.loads((whole / "config.json").read_text())
    (config[place] if place else config).update(values)
    with pytest.raises(CheckpointError) as refused:
        describe(config, "config.json", "x")
    says(refused, *facts)


def test_pictures(whole: Path) -> None:
    made = family_of(Checkpoint.open(whole))
    processor, layout = made.media.image.processor, made.media.image.layout
    assert isinstance(processor, Longest)
    assert (processor.tile, processor.patch, processor.merge, processor.longest) == (56, 14, 2, 168)
    assert (processor.resample, processor.split, processor.mean) == ("lanczos", True, (0.5, 0.5, 0.5))
    assert made.info.tokens == processor.token_range == (16, 40, 40)
    assert isinstance(layout, Tiles)
    assert layout.tile == "<fake_token_around_image><row_{row}_col_{column}>"


def test_the_longest_edge_is_that_of_the_settings(folder: Path) -> None:
    _edit(folder / "preprocessor_config.json", size={"longest_edge": 112})
    made = family_of(Checkpoint.open(folder))
    assert made.info.tokens == made.media.image.processor.token_range == (12, 20, 20)
    capped = family_of(Checkpoint.open(folder), most_tokens=19)
    assert capped.info.tokens == capped.media.image.processor.token_range == (4, 4, 4)
    assert capped.description.capped(None).tokens == (12, 20, 20)
    _edit(folder / "preprocessor_config.json", do_image_splitting=False)
    assert family_of(Checkpoint.open(folder)).info.tokens == (4, 4, 4)


@pytest.mark.parametrize(
    ("file", "values", "facts"),
    [
        ("preprocessor_config.json", {"image_processor_type": "CLIPImageProcessor"}, ["Idefics3ImageProcessor"]),
        ("preprocessor_config.json", {"max_image_size": {"longest_edge": 364}}, ["max_image_size", 364, 56]),
        ("preprocessor_config.json", {"size": {"height": 56, "width": 56}}, ["size", "longest_edge"]),
        ("preprocessor_config.json", {"size": {"longest_edge": 5000}}, ["size", 4096]),
        ("preprocessor_config.json", {"size": {"longest_edge": 1000}}, ["size", 16, 56]),
        ("preprocessor_config.json", {"do_resize": False}, ["do_resize"]),
        ("preprocessor_config.json", {"do_image_splitting": "no"}, ["do_image_splitting"]),
        ("preprocessor_config.json", {"image_mean": [0.5]}, ["image_mean"]),
        ("processor_config.json", {"image_seq_len": 169}, ["image_seq_len", 169, 4]),
        ("config.json", {"image_token_id": 538}, ["image_token_id", "<image>"]),
    ],
)
def test_files_that_the_model_does_not_go_with(
    folder: Path, file: str, values: dict[str, Any], facts: list[Any]
) -> None:
    _edit(folder / file, **values)
    with pytest.raises(CheckpointError) as refused:
        _ = family_of(Checkpoint.open(folder)).media
    says(refused, *facts)


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("smolvlm") / "checkpoint", PRESETS["tiny-smolvlm"])


@pytest.fixture
def moving(filmed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filmed, tmp_path / "model"))


def test_idefics3_takes_no_clips(whole: Path) -> None:
    assert family_of(Checkpoint.open(whole), frames=8).media.video is None


def test_clips_of_smolvlm(moving: Path) -> None:
    sampled = {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": 88}}
    _edit(moving / "preprocessor_config.json", video_sampling=sampled)
    found = family_of(Checkpoint.open(moving)).media.video
    assert found is not None
    assert found.sampling == Sampling("span", 5, 1.0, skip=1.0), "as many as have room beside no picture"
    frame, layout = found.processor.frame, found.layout
    assert isinstance(frame, Longest)
    assert (frame.tile, frame.longest, frame.split, frame.token_range) == (88, 176, False, (4, 4, 4))
    assert isinstance(layout, Frames)
    assert layout.numerals == ("one", "two", "three", "four", "five")
    told = smolvlm.OPENING.replace("{count}", "{frame_count}").replace("{duration}", "{video_duration}")
    assert told == processing_smolvlm.DEFAULT_VIDEO_INTRO
    assert smolvlm.BEFORE.replace("clock", "timestamp") == processing_smolvlm.FRAME_TIMESTAMP_MESSAGE
    assert layout.closing == processing_smolvlm.DEFAULT_MEDIA_OUTTRO
    more = family_of(Checkpoint.open(moving), frames=9)
    assert more.info.tokens == more.media.token_range == (4, 20, 36)
    settings = json.loads((moving / "preprocessor_config.json").read_text())
    del settings["size"]
    (moving / "video_preprocessor_config.json").write_text(json.dumps(settings))
    found = family_of(Checkpoint.open(moving)).media.video
    assert found is not None
    assert isinstance(found.processor.frame, Longest)
    assert found.processor.frame.longest == 88, "a size of its own has the last word, then that of the sampling"


@pytest.mark.parametrize("content", [["video", "text"], ["image", "text"], ["text", "video", "image", "text"]])
@pytest.mark.parametrize(
    "own", [smolvlm.CLIP_TEMPLATE, "\n<s>{% for m in messages %}{{ m.content[0].type }}\n{% endfor %}\n"]
)
def test_the_library_writes_conversations_with_a_clip_by_a_template_of_its_own(
    moving: Path, own: str, content: list[str]
) -> None:
    (moving / "chat_template.jinja").write_text(own)
    written = family_of(Checkpoint.open(moving)).chat_template()
    tokenizer = AutoTokenizer.from_pretrained(moving)
    asked = [
        {"role": "user", "content": [{"type": kind, **({"text": "Hi"} if kind == "text" else {})} for kind in content]},
        {"role": "assistant", "content": [{"type": "text", "text": "Ho"}]},
    ]
    theirs = processing_smolvlm.DEFAULT_CHAT_TEMPLATE if "video" in content else own
    found, expected = (
        tokenizer.apply_chat_template(asked, chat_template=each, tokenize=False, add_generation_prompt=True)
        for each in (written, theirs)
    )
    assert found == expected


@pytest.mark.parametrize(
    ("values", "facts"),
    [
        ({"video_processor_type": "InternVLVideoProcessor"}, ["video_processor_type", "SmolVLMVideoProcessor"]),
        ({"max_image_size": {"longest_edge": 364}}, ["max_image_size", 364, 88]),
        ({"size": {"height": 88, "width": 88}}, ["size", "longest_edge"]),
        ({"size": {"longest_edge": 2000}}, ["size", 2000, 16]),
        ({"do_resize": None}, ["do_resize"]),
        ({"video_sampling": 3}, ["video_sampling", 3]),
        ({"video_sampling": {"max_frames": "64"}}, ["video_sampling.max_frames", "64"]),
        ({"video_sampling": {"fps": 0}}, ["video_sampling.fps", 0]),
        ({"rescale_factor": "x"}, ["rescale_factor"]),
    ],
)
def test_video_settings_that_are_not_followed(moving: Path, values: dict[str, Any], facts: list[Any]) -> None:
    settings = json.loads((moving / "preprocessor_config.json").read_text())
    (moving / "video_preprocessor_config.json").write_text(json.dumps({**settings, **values}))
    with pytest.raises(CheckpointError) as refused:
        family_of(Checkpoint.open(moving))
    says(refused, "video settings", *facts)


def test_a_processor_that_counts_for_itself_counts_as_the_library(folder: Path) -> None:
    """Without the file it would write 169 tokens for each tile."""
    (folder / "processor_config.json").unlink()
    with pytest.raises(CheckpointError) as refused:
        family_of(Checkpoint.open(folder))
    says(refused, "image_seq_len", 169, "processor_config.json", 4)


@pytest.mark.full
@pytest.mark.usefixtures("tracer")
@pytest.mark.parametrize("preset", ["tiny-smolvlm", "tiny-idefics3"])
@pytest.mark.parametrize("options", [{"budget": "paper:64"}, {"prune_at": "encoder"}])
def test_what_is_built_is_verified(tmp_path: Path, options: dict[str, Any], preset: str) -> None:
    checkpoint = make(tmp_path / "model", PRESETS[preset])
    bundle = build(checkpoint, tmp_path / "bundle", max_context=512, **options)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    report = compare(bundle, str(checkpoint), [Image.fromarray(pixels)], "What is in the picture?")
    report.require()
    assert {check.stage for check in report.checks} >= {graph.name for graph in bundle.manifest.graphs}


@pytest.mark.full
@pytest.mark.usefixtures("tracer")
def test_smaller_pictures_are_verified_as_the_library_makes_them_with_a_shorter_edge(
    whole: Path, tmp_path: Path
) -> None:
    bundle = build(whole, tmp_path / "bundle", max_context=256, prune_at="none", max_visual_tokens=39)
    assert bundle.manifest.model.tokens == (12, 20, 20)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    report = compare(bundle, str(whole), [Image.fromarray(pixels)], "What is in the picture?")
    report.require()
    assert report.skipped == ()
