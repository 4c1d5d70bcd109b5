"""A square whose cells are mixed to fewer tokens, against the pooling of transformers' LLaVA-OneVision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from clasp_trt.bundle import Mixed, Stills
from clasp_trt.runtime.media.clip import Clip
from clasp_trt.runtime.media.processors.clips import StillsProcessor
from clasp_trt.runtime.media.processors.mixed import MixedProcessor

HALF = (0.5, 0.5, 0.5)
SMALL = Mixed(72, 14, 3, False, "bicubic", 1 / 255, HALF, HALF)
SQUARES = {"odd": SMALL, "published": replace(SMALL, tile=384, grid=14), "even": replace(SMALL, tile=336, grid=12)}


def _picture(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng([height, width]).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(72, 72), (40, 150), (300, 7), (1, 1)])
def test_pixels_are_those_of_a_square_of_any_shape(size: tuple[int, int]) -> None:
    library = SiglipImageProcessorPil(size={"height": 72, "width": 72})
    expected = library(_picture(*size), return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal(MixedProcessor(SMALL)(_picture(*size)).vision["pixel_values"], expected)


@pytest.mark.parametrize("name", SQUARES)
def test_every_token_is_the_mixture_that_the_library_pools(name: str) -> None:
    record = SQUARES[name]
    seen = MixedProcessor(record)(_picture(20, 20))
    drawn = np.random.default_rng(0).standard_normal((record.rows, 8)).astype(np.float32)
    sizes = type("Vision", (), {"image_size": record.tile, "patch_size": record.cell})
    model = type("Model", (), {"config": type("Config", (), {"vision_config": sizes})})
    pool: Any = LlavaOnevisionModel.apply_pooling
    expected = pool(model, torch.from_numpy(drawn)[None])[0].numpy()
    found = (drawn[seen.pack["row_index"]] * seen.pack["row_weight"][..., None]).sum(1)
    # places along an axis of up to 27 are rounded to float32, and so are products of weights and sums of four
    np.testing.assert_allclose(found, expected, rtol=0, atol=64 * np.finfo(np.float32).eps)
    assert record.token_range == (record.grid**2,) * 3 == (len(seen.boxes),) * 3


def test_boxes_are_shares_of_the_square() -> None:
    boxes = MixedProcessor(SMALL)(_picture(50, 90)).boxes.reshape(3, 3, 4)
    share = 70 / 3  # of what the five cells see of 72 pixels
    np.testing.assert_allclose(boxes[0, 0], [0, 0, share, share], rtol=1e-6)
    np.testing.assert_allclose(boxes[2, 1], [share, 2 * share, 2 * share, 70], rtol=1e-6)


def test_an_end_is_the_row_after_the_square_and_looks_nowhere() -> None:
    seen = MixedProcessor(replace(SMALL, end=True))(_picture(50, 90))
    assert [block.tokens for block in seen.blocks] == [9, 1]
    assert (seen.pack["row_index"][-1] == 25).all()
    assert seen.pack["row_weight"][-1].tolist() == [1, 0, 0, 0]
    assert np.isnan(seen.boxes[-1]).all()
    assert not np.isnan(seen.boxes[:-1]).any()


def test_only_the_last_frame_of_a_clip_has_an_end() -> None:
    record, frames = Stills(SMALL, ends=True), tuple(_picture(30, 40 + i) for i in range(3))
    film = StillsProcessor(record)(Clip(frames, (0.0, 0.5, 1.0)))
    assert [len(step.pack["row_index"]) for step in film.steps] == [9, 9, 10]
    assert [block.tokens for block in film.blocks] == [9, 9, 9, 1]
    assert (record.token_range(3), record.step_range) == ((10, 28), (9, 10))
