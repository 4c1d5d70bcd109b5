"""Qwen's families about clips: ids, positions and answers against the stock models, and pruned ones against their
modules with rows dropped.

transformers' video processors need torchvision. What they make of frames is made here of its Pillow-backed image
processor's operations, frame by frame, and cut into patches by the library's own words for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize

from clasp_trt.runtime.media.clip import Clip
from tests.parity.test_qwen import FAMILIES, NEW_TOKENS, PHOTO, QUESTION, Whole

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

    def __init__(self, whole: Whole, given: Clip) -> None:
        config, processor = whole.model.config, whole.processor
        vision = config.vision_config
        patch, merge, time = vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size
        self.timed = config.model_type == "qwen3_vl"
        count, (width, height) = len(given.frames), given.frames[0].size
        edges = processor.size["shortest_edge"], processor.size["longest_edge"]
        if self.timed:
            tall, wide = smart_resize(count, height, width, time, patch * merge, *edges)
        else:
            wide, tall = self._by_frame(processor, given.frames[0])
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
    def _by_frame(processor: Any, frame: Image.Image) -> tuple[int, int]:
        rows, columns = processor([frame], return_tensors="np")["image_grid_thw"][0][1:]
        return int(columns) * processor.patch_size, int(rows) * processor.patch_size

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
