"""What ``llava_next_video`` and ``video_llava`` read of a config and of video settings, and what they refuse."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clasp_trt import targets
from clasp_trt.bundle import Bundle, InconsistentManifest, Square, Stills, consistency
from clasp_trt.chain import cuts, names
from clasp_trt.errors import CheckpointError, ScheduleError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.description import SquareDescription
from clasp_trt.export.family import describe, family_of
from clasp_trt.operators import MAX_TOKENS
from clasp_trt.schedule import solve
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.plan import Request
from clasp_trt.tools.plan import make as plan
from clasp_trt.tools.verify import compare
from examples.random_llava import PRESETS, make
from tests.export.models.published import LLAVA_NEXT_VIDEO, VIDEO_LLAVA
from tests.mistakes import says

PUBLISHED = {**LLAVA_NEXT_VIDEO, **VIDEO_LLAVA}
NEXT, TWIN = PUBLISHED["LLaVA-NeXT-Video-7B-hf"], PUBLISHED["Video-LLaVA-7B-hf"]


@pytest.fixture(scope="module", params=["tiny-next-video", "tiny-video"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("films") / "checkpoint", PRESETS[request.param])


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def _described(config: dict[str, Any]) -> SquareDescription:
    found = describe(config, "config.json", "x")
    assert isinstance(found, SquareDescription)
    return found


@pytest.mark.parametrize("name", [*PUBLISHED])
def test_parameters_are_those_of_the_library(name: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    config = AutoConfig.for_model(**json.loads(json.dumps(PUBLISHED[name])))
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    assert _described(PUBLISHED[name]).parameters == sum(each.numel() for each in model.parameters())


@pytest.mark.parametrize("kind", ["llava_next_video", "video_llava"])
@pytest.mark.parametrize("given", [{}, {"text_config": {"model_type": "mistral"}}, {"video_token_index": 7}], ids=str)
def test_defaults_are_the_librarys(kind: str, given: dict[str, Any]) -> None:
    from transformers import AutoConfig

    config = AutoConfig.for_model(kind, **json.loads(json.dumps(given)))
    filled = {"model_type": kind, **json.loads(config.to_json_string(use_diff=False))}
    assert _described({"model_type": kind, **given}) == _described(filled)


def test_tokens_of_published_models() -> None:
    found, twin = _described(NEXT), _described(TWIN)
    assert (found.clip_tokens, found.frames_taken, found.tokens) == ((144, 2880), 20, (144, 2340, 2928))
    assert (twin.clip_tokens, twin.frames_taken, twin.tokens) == ((257, 2056), 8, (256, 256, 2056))
    capped = found.capped(1800)
    assert capped.frames_taken == 12, "as many as have no more tokens than pictures"


def test_a_plan_counts_both_towers() -> None:
    model = _described(TWIN)
    schedule = solve(max(model.tokens), model.decoder.layers, 200)
    made = plan(Request(model, targets.get("h200"), schedule, "fp16", 4096))
    weights = made.pruned.memory.weights
    assert weights[names.VISION_VIDEO] == weights[names.VISION] == 2 * model.tower.built_parameters
    assert weights[names.PROJECTOR_VIDEO] == weights[names.PROJECTOR]
    assert model.views == 8


@pytest.mark.parametrize(
    ("config", "field"),
    [
        *(({**NEXT, "spatial_pool_mode": mode}, "spatial_pool_mode") for mode in ("max", "conv", None)),
        *(({**NEXT, "spatial_pool_stride": stride}, "spatial_pool_stride") for stride in (1, 4, "2")),
        ({**NEXT, "vision_config": {**NEXT["vision_config"], "image_size": 378}}, "spatial_pool_stride"),
        ({**TWIN, "vision_config": {"model_type": "siglip_vision_model"}}, "vision_config.model_type"),
        ({**TWIN, "vision_feature_select_strategy": "full"}, "vision_feature_select_strategy"),
        *(({**each, "video_token_index": -1}, "video_token_index") for each in (NEXT, TWIN)),
    ],
)
def test_what_cannot_be_compiled_is_refused_by_name(config: dict[str, Any], field: str) -> None:
    given = {**config, "image_grid_pinpoints": [[378, 378]]} if "378" in json.dumps(config) else config
    with pytest.raises(CheckpointError) as error:
        _described(given)
    says(error, field)


def test_clips(whole: Path) -> None:
    made = family_of(Checkpoint.open(whole))
    video = made.media.video
    assert video is not None
    assert isinstance(video.processor, Stills)
    frame = video.processor.frame
    assert isinstance(frame, Square)
    pooled = whole_is_next(whole)
    assert (frame.side, frame.cell, frame.pool, frame.cls) == (56, 14, 2 if pooled else 1, not pooled)
    assert (video.sampling.rule, video.sampling.frames) == ("even", 22 if pooled else 8)
    assert video.token_range == made.description.clip_tokens == ((4, 88) if pooled else (17, 136))
    assert made.info.tokens == made.media.token_range
    assert family_of(Checkpoint.open(whole), frames=3).info.tokens[2] == (88 if pooled else 51)


def whole_is_next(folder: Path) -> bool:
    return bool(json.loads((folder / "config.json").read_text())["model_type"] == "llava_next_video")


def test_frames_are_as_many_as_the_settings_say(folder: Path) -> None:
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "video_preprocessor_config.json").write_text(json.dumps({**settings, "num_frames": 5}))
    video = family_of(Checkpoint.open(folder)).media.video
    assert video is not None
    assert video.sampling.frames == 5


@pytest.mark.parametrize(
    ("values", "facts"),
    [
        ({"video_processor_type": "Qwen2VLVideoProcessor"}, ("video_processor_type", "VideoLlavaVideoProcessor")),
        ({"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}, ("28x28", "56x56")),
        ({"image_std": 0}, ("image_std",)),
        ({"num_frames": 0}, ("num_frames", 0)),
    ],
)
def test_video_settings_that_the_model_does_not_go_with(
    folder: Path, values: dict[str, Any], facts: tuple[str, ...]
) -> None:
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "video_preprocessor_config.json").write_text(json.dumps({**settings, **values}))
    with pytest.raises(CheckpointError) as error:
        _ = family_of(Checkpoint.open(folder)).media
    says(error, "video settings", *facts)


def test_a_template_without_a_place_for_clips_takes_none(folder: Path) -> None:
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(template.replace("<video>", ""))
    made = family_of(Checkpoint.open(folder))
    assert made.media.video is None
    assert list(made.clip_graphs((3,), "float32")) == []


@pytest.mark.parametrize(("config", "frames"), [(NEXT, 120), (TWIN, 64)])
def test_more_frames_than_a_selection_takes(config: dict[str, Any], frames: int) -> None:
    model = replace(_described(config), frames=frames)
    with pytest.raises(ScheduleError) as error:
        cuts.check(solve(max(model.tokens), model.decoder.layers, max(model.tokens) // 3), 8192, 8192)
    says(error, MAX_TOKENS, max(model.tokens), "--max-frames")


@pytest.fixture(scope="module")
def bundle(whole: Path, tracer: object, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return build(whole, tmp_path_factory.mktemp("films") / "bundle", max_context=512, budget="1/3")


def test_what_is_built_is_verified(whole: Path, bundle: Bundle) -> None:
    _verify(whole, bundle)


@pytest.mark.full
@pytest.mark.usefixtures("tracer")
@pytest.mark.parametrize("options", [{"precision": "fp16"}, {"quantize": "int8"}], ids=str)
def test_what_is_built_before_the_decoder_is_verified(whole: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    """In halves, and with the weights of all towers rounded."""
    _verify(whole, build(whole, tmp_path / "bundle", max_context=512, prune_at="encoder", **options))


def _verify(whole: Path, bundle: Bundle) -> None:
    noise = Image.effect_noise((80, 60), 90).convert("RGB")
    report = compare(bundle, str(whole), [noise], "What is in the picture?")
    report.require()
    assert report.skipped == ()
    assert {check.stage for check in report.checks} >= {graph.name for graph in bundle.manifest.graphs}


def test_a_bundle_without_a_graph_of_its_clips_is_not_whole(bundle: Bundle) -> None:
    manifest = bundle.manifest
    consistency.check(manifest, "clasp.json")
    for missing in manifest.own_to_clips:
        kept = tuple(graph for graph in manifest.graphs if graph.name != missing)
        with pytest.raises(InconsistentManifest) as error:
            consistency.check(replace(manifest, graphs=kept), "clasp.json")
        says(error, "graphs[", "expected")


def test_graphs_of_clips_have_their_place(bundle: Bundle) -> None:
    graphs = bundle.manifest.graphs
    with pytest.raises(InconsistentManifest) as error:
        consistency.check(replace(bundle.manifest, graphs=(*graphs[:2], *graphs[:1:-1])), "clasp.json")
    says(error, "graphs[2]", "'greedy'", repr(bundle.manifest.own_to_clips[0]))


@pytest.mark.parametrize("whole", ["tiny-next-video"], indirect=True)
def test_graphs_of_clips_that_are_not_taken(bundle: Bundle) -> None:
    """Pictures have as many tokens here."""
    pictures = replace(bundle.manifest.media, video=None)
    model = replace(bundle.manifest.model, tokens=pictures.token_range)
    with pytest.raises(InconsistentManifest) as error:
        consistency.check(replace(bundle.manifest, media=pictures, model=model), "clasp.json")
    says(error, "graphs[2]", "'projector_video'", "'embed'")


def test_a_clip_s_square_is_read_as_it_is_written(bundle: Bundle) -> None:
    """Opened again, the manifest is the same: with a pool, or with [CLS] as a token."""
    assert Bundle.open(bundle.root).manifest.media == bundle.manifest.media
