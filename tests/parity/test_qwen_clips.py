"""Qwen's families about clips: ids, positions and answers against the stock models, and pruned ones against their
modules with rows dropped.

transformers' video processors need torchvision. What they make of frames is made here of its Pillow-backed image
processor's operations, frame by frame, and cut into patches by the library's own words for it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as by_frame
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize

from clasp_trt.errors import ImageError
from clasp_trt.runtime.conversation import Conversation
from clasp_trt.runtime.media.clip import Clip
from clasp_trt.runtime.pipeline import Pipeline
from clasp_trt.runtime.result import Result
from clasp_trt.tools.evaluate.answers import Forgetful, Run, answer
from clasp_trt.tools.evaluate.questions import Questions, assign
from tests.mistakes import says
from tests.parity.eager_grids import EagerGrids
from tests.parity.test_qwen import FAMILIES, NEW_TOKENS, PHOTO, QUESTION, Whole, _same, picture

QUESTION_PART = {"type": "text", "text": QUESTION}
CLIPS = {"six": (6, (90, 60)), "odd": (5, (60, 120)), "two": (2, (200, 150)), "many": (16, (300, 200))}
"""How many frames, and their width and height; ``many`` are scaled down to have room."""


@pytest.fixture(scope="module", params=FAMILIES)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    torch.set_num_threads(1)
    return Whole(request.param, tmp_path_factory.mktemp("qwen-clips"))


def clip(name: str) -> Clip:
    count, (width, height) = CLIPS[name]
    with Image.open(PHOTO) as photo:
        large = photo.convert("RGB").resize((width + 3 * count, height + 2 * count))
    frames = [large.crop((3 * i, 2 * i, 3 * i + width, 2 * i + height)) for i in range(count)]
    return Clip(tuple(frames), tuple(0.4 * i for i in range(count)), 0.4 * count)


class Stock:
    """What the library makes of a clip and a question."""

    def __init__(self, whole: Whole, given: Clip, most: int = 10**6) -> None:
        config, processor = whole.model.config, whole.processor
        vision = config.vision_config
        patch, merge, time = vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size
        self.timed = config.model_type == "qwen3_vl"
        count, (width, height) = len(given.frames), given.frames[0].size
        edges = processor.size["shortest_edge"], processor.size["longest_edge"]
        if self.timed:
            tall, wide = smart_resize(count, height, width, time, patch * merge, *edges)
        else:
            share = most // -(-count // time) * (patch * merge) ** 2  # the bundle's cap, as a smaller longest_edge
            tall, wide = by_frame(height, width, patch * merge, edges[0], min(edges[1], share))
        frames = [self._values(processor, frame.resize((wide, tall), processor.resample)) for frame in given.frames]
        frames += frames[-1:] * (-count % time)
        self.grid = len(frames) // time, tall // patch, wide // patch
        cut = torch.from_numpy(np.stack(frames)).view(
            self.grid[0], time, 3, self.grid[1] // merge, merge, patch, self.grid[2] // merge, merge, patch
        )
        self.pixels = cut.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(np.prod(self.grid), -1)
        tokens = self.grid[1] * self.grid[2] // merge**2
        start, pad, end = "<|vision_start|>", "<|video_pad|>", "<|vision_end|>"
        if self.timed:
            times = Qwen3VLProcessor._calculate_timestamps(None, list(range(count)), 2.5, time)
            shown = "".join(f"<{at:.1f} seconds>{start}{pad * tokens}{end}" for at in times)
        else:
            shown = pad * tokens * self.grid[0]
        template = (whole.folder / "chat_template.jinja").read_text()
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(whole.folder)
        asked = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": QUESTION}]}]
        text = tokenizer.apply_chat_template(asked, chat_template=template, tokenize=False, add_generation_prompt=True)
        self.ids = tokenizer(text.replace(pad, shown), return_tensors="pt").input_ids
        self.kinds = 2 * (self.ids == config.video_token_id).long()
        self.inputs: dict[str, Any] = {
            "pixel_values_videos": self.pixels, "video_grid_thw": torch.tensor([self.grid])
        }  # fmt: skip
        if config.model_type == "qwen2_5_vl":
            self.inputs["second_per_grid_ts"] = torch.tensor([time * 0.4])

    @staticmethod
    def _values(processor: Any, frame: Image.Image) -> Any:
        scaled = processor.rescale(np.asarray(frame).transpose(2, 0, 1), processor.rescale_factor)
        return processor.normalize(scaled, processor.image_mean, processor.image_std).astype(np.float32)


@pytest.mark.parametrize("name", ["six", "odd", "two"])
def test_unpruned_is_the_stock_model(whole: Whole, name: str) -> None:
    given = clip(name)
    theirs = Stock(whole, given)
    result = whole.loaded("none").generate(None, QUESTION, video=given, max_new_tokens=NEW_TOKENS)
    found = whole.model.generate(
        input_ids=theirs.ids, attention_mask=torch.ones_like(theirs.ids), mm_token_type_ids=theirs.kinds,
        **theirs.inputs, max_new_tokens=NEW_TOKENS, do_sample=False,
    )  # fmt: skip
    assert list(result.token_ids) == found[0, theirs.ids.shape[1] :].tolist()
    assert len(set(result.token_ids)) > 4, "a model that repeats itself proves little"


@pytest.mark.parametrize("name", ["six", pytest.param("odd", marks=pytest.mark.full), "many"])
def test_kept_tokens_and_answer(whole: Whole, name: str) -> None:
    given, pipeline = clip(name), whole.loaded("decoder")
    result = pipeline.generate(None, QUESTION, video=given, max_new_tokens=NEW_TOKENS)
    _same(result, _eager(whole, pipeline, given, result))


@pytest.mark.full
def test_kept_tokens_before_the_decoder(whole: Whole) -> None:
    given, pipeline = clip("six"), whole.loaded("encoder")
    result = pipeline.generate(None, QUESTION, video=given, max_new_tokens=NEW_TOKENS)
    _same(result, _eager(whole, pipeline, given, result))


def _eager(whole: Whole, pipeline: Pipeline, given: Clip, result: Result) -> Any:
    """The reference's answer; nothing but numbers of the manifest is shared."""
    manifest, policy, theirs = (
        pipeline.bundle.manifest,
        pipeline.policy,
        Stock(whole, given, pipeline.bundle.manifest.model.tokens[2]),
    )
    row, tokens = policy.categories[result.route.category], int((theirs.kinds > 0).sum())
    assert result.visual_tokens == tokens
    weights = np.exp(policy.tau * np.array(row.scores))
    keeps = manifest.schedule.keeps_of(tokens)
    stages = [
        (stage.after_layer, keep, int(row.ratio * keep))
        for stage, keep in zip(manifest.schedule.stages, keeps, strict=True)
    ]
    told = {name: value for name, value in theirs.inputs.items() if name == "second_per_grid_ts"}
    return EagerGrids(whole.model, theirs.inputs["video_grid_thw"], told).generate(
        theirs.pixels, theirs.ids, (weights / weights.sum()).tolist(), policy.layers, stages, manifest.prune_at,
        max_new_tokens=NEW_TOKENS,
    )  # fmt: skip


def test_a_picture_beside_a_clip_in_either_order(whole: Whole) -> None:
    """Where the message has them; each is told by its own kind of token."""
    given, photo = clip("two"), picture("wide")
    theirs, (ids, seen) = Stock(whole, given), whole.inputs(photo)
    shown = {"image": {"type": "image", "image": photo}, "video": {"type": "video", "video": given}}
    config, pipeline = whole.model.config, whole.loaded("none", max_images=2)
    asked = {"image": ids[0].tolist(), "video": theirs.ids[0].tolist()}
    begin = asked["image"].index(config.vision_start_token_id)
    ends = {name: len(row) - row[::-1].index(config.vision_end_token_id) for name, row in asked.items()}
    for order in (["image", "video"], ["video", "image"]):
        first = asked[order[0]]
        row = [
            *first[:begin],
            *(id for name in order for id in asked[name][begin : ends[name]]),
            *first[ends[order[0]] :],
        ]
        rows = torch.tensor([row])
        kinds = (rows == config.image_token_id).long() + 2 * (rows == config.video_token_id).long()
        found = whole.model.generate(
            input_ids=rows, attention_mask=torch.ones_like(rows), mm_token_type_ids=kinds, **seen, **theirs.inputs,
            max_new_tokens=NEW_TOKENS, do_sample=False,
        )  # fmt: skip
        content = [*(shown[name] for name in order), QUESTION_PART]
        result = pipeline.chat([{"role": "user", "content": content}], max_new_tokens=NEW_TOKENS)
        assert list(result.token_ids) == found[0, rows.shape[1] :].tolist()


def test_frames_and_clips_are_bounded(whole: Whole) -> None:
    pipeline, given = whole.loaded("none"), clip("six")
    assert pipeline.bundle.manifest.media.video is not None
    most = pipeline.bundle.manifest.media.video.sampling.frames
    many = Clip(given.frames * most, tuple(range(6 * most)))
    with pytest.raises(ImageError) as refused:
        pipeline.generate(None, QUESTION, video=many)
    says(refused, 6 * most, most, "--max-frames")
    with pytest.raises(ImageError) as refused:
        pipeline.chat([{"role": "user", "content": [*[{"type": "video", "video": given}] * 2, QUESTION_PART]}])
    says(refused, "2 clips")


def test_a_conversation_remembers_its_clip(whole: Whole) -> None:
    """The second question is about the same clip."""
    pipeline, given = whole.loaded("none"), clip("two")
    talk = Conversation(pipeline)
    first = talk.ask(QUESTION, video=given, max_new_tokens=2).result
    second = talk.ask("And then?", max_new_tokens=2).result
    assert first.visual_tokens == second.visual_tokens > 0
    asked = [*talk.messages[:-2], {"role": "user", "content": [{"type": "text", "text": "And then?"}]}]
    assert pipeline.chat(asked, max_new_tokens=2).token_ids == second.token_ids


def test_questions_about_clips_are_evaluated(whole: Whole, tmp_path: Path) -> None:
    """A folder of frames and an animation, whose answers are those that the pipeline gives."""
    given, pipeline = clip("two"), whole.loaded("none")
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(given.frames):
        frame.save(tmp_path / "frames" / f"{number}.png")
    given.frames[0].save(tmp_path / "clip.gif", save_all=True, append_images=given.frames[1:], duration=400)
    names = ("frames", "clip.gif")
    said = {name: pipeline.generate(None, QUESTION, video=tmp_path / name, max_new_tokens=16).text for name in names}
    rows = [{"video": name, "prompt": QUESTION, "answer": said[name].strip() or "?"} for name in names]
    (tmp_path / "D.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    questions = Questions.read(tmp_path / "D.jsonl")
    asked = assign(questions, lambda prompt: pipeline.route(prompt).name, route=False)
    answers = answer(questions, [Run("clasp", pipeline, asked)], max_new_tokens=16, store=Forgetful())
    assert [each.said for each in answers.values()] == [said[name] for name in names]
