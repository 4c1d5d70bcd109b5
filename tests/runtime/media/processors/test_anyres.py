"""Tiles against transformers' own: pixels bit for bit, and the same tokens in the same order, at odd sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_next.modeling_llava_next import LlavaNextModel, image_size_to_num_patches
from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor

from clasp_trt.bundle.media import Anyres
from clasp_trt.runtime.media.processors.anyres import AnyresProcessor

PINPOINTS = ((56, 112), (112, 56), (112, 112), (168, 56), (56, 168))
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SMALL = Anyres(56, 14, PINPOINTS, "bicubic", 1 / 255, MEAN, STD)
WHOLE = Anyres(336, 14, ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)), "bicubic", 1 / 255, MEAN, STD)
SIZES = [
    (56, 56),
    (112, 112),
    (60, 80),
    (80, 60),
    (100, 300),
    (300, 100),
    (33, 77),
    (1, 1),
    (20, 400),
    (400, 3),
    (90, 90),
]


class _Config:
    def __init__(self, record: Anyres) -> None:
        self.vision_config = type("Vision", (), {"image_size": record.tile, "patch_size": record.cell})
        self.image_grid_pinpoints = [list(each) for each in record.pinpoints]


def _library(record: Anyres) -> LlavaNextImageProcessorPil:
    side = {"height": record.tile, "width": record.tile}
    pinpoints = [list(each) for each in record.pinpoints]
    return LlavaNextImageProcessorPil(
        size={"shortest_edge": record.tile}, crop_size=side, image_grid_pinpoints=pinpoints
    )


def _picture(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng([height, width]).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _packed(record: Anyres, features: torch.Tensor, size: tuple[int, int], newline: torch.Tensor) -> Any:
    model = type("Model", (), {"config": _Config(record)})
    (packed,), _ = LlavaNextModel.pack_image_features(model, [features], [list(size)], "default", newline)
    return packed


@pytest.mark.parametrize("size", SIZES)
def test_pixels(size: tuple[int, int]) -> None:
    image = _picture(*size)
    expected = _library(SMALL)(image, return_tensors="np")["pixel_values"][0]
    np.testing.assert_array_equal(AnyresProcessor(SMALL)(image).vision["pixel_values"], expected)


@pytest.mark.parametrize("size", SIZES)
def test_every_token_is_the_row_that_the_library_packs(size: tuple[int, int]) -> None:
    seen = AnyresProcessor(SMALL)(_picture(*size))
    features = torch.arange(len(seen.vision["pixel_values"]) * 16.0).reshape(-1, 16, 1)
    rows = torch.cat([features.flatten(), torch.tensor([-1.0])])
    expected = _packed(SMALL, features, size, torch.tensor([-1.0]))
    assert rows[seen.pack["row_index"]].tolist() == expected[:, 0].tolist()


@settings(max_examples=200, deadline=None)
@given(height=st.integers(1, 3000), width=st.integers(1, 3000))
def test_counts_at_the_published_sizes(height: int, width: int) -> None:
    processor = AnyresProcessor(WHOLE)
    library = type("Library", (), {"image_processor": _library(WHOLE), "patch_size": 14})
    library.num_additional_image_tokens = 0
    library._get_unpadded_features = lambda *sizes: LlavaNextProcessor._get_unpadded_features(None, *sizes)
    found = processor.count(height, width)
    assert found == LlavaNextProcessor._get_number_of_features(library, height, width, 336, 336)
    least, _, most = WHOLE.token_range
    assert least <= found <= most
    tiles = image_size_to_num_patches([height, width], [list(each) for each in WHOLE.pinpoints], 336)
    assert WHOLE.tiling.fit(height, width).tiles == tiles


def test_the_range_is_reached() -> None:
    assert WHOLE.token_range == (576, WHOLE.tiling.count(504, 672), 2928)
    assert (AnyresProcessor(WHOLE).count(1, 10**6), AnyresProcessor(WHOLE).count(672, 672)) == (576, 2928)


@pytest.mark.parametrize("size", SIZES)
def test_boxes_lie_in_the_view_and_newlines_nowhere(size: tuple[int, int]) -> None:
    seen = AnyresProcessor(SMALL)(_picture(*size))
    boxes = seen.boxes
    assert len(boxes) == len(seen.pack["row_index"]) == AnyresProcessor(SMALL).count(*size)
    newline = np.isnan(boxes).all(axis=1)
    assert newline.tolist() == (seen.pack["row_index"] == len(seen.vision["pixel_values"]) * 16).tolist()
    placed = boxes[~newline]
    assert (placed[:, :2] <= placed[:, 2:]).all()
    assert (placed >= 0).all()
    assert (placed <= np.array([*seen.view.size] * 2)).all()


def test_a_token_looks_where_its_pixels_are() -> None:
    """One bright cell of the canvas is the only one whose token's patch is bright."""
    image = Image.new("RGB", (112, 112))
    image.paste((255, 255, 255), (70, 14, 84, 28))
    seen = AnyresProcessor(SMALL)(image)
    tiles = seen.vision["pixel_values"][:, 0].reshape(-1, 4, 14, 4, 14).mean(axis=(2, 4)).reshape(-1)
    bright = np.flatnonzero(tiles[16:] > tiles[16:].min() + 1) + 16
    (token,) = np.flatnonzero(np.isin(seen.pack["row_index"], bright))
    assert seen.boxes[token].tolist() == [70, 14, 84, 28]


def test_it_is_data(tmp_path: Path) -> None:
    from clasp_trt.bundle import Media, Medium, Run, Sequential
    from clasp_trt.bundle.media import content

    written = content(Media(Medium(SMALL, Run("<image>", "<image>", 7, "", ""), Sequential(0))))["image"]["processor"]
    assert json.loads(json.dumps(written)) == {
        "kind": "anyres", "tile": 56, "cell": 14, "pinpoints": [list(each) for each in PINPOINTS],
        "resample": "bicubic", "rescale": 1 / 255, "mean": list(MEAN), "std": list(STD),
    }  # fmt: skip
