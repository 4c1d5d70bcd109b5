"""Tiles that are shrunk to a limit, against transformers' LLaVA-OneVision: pixels, and what each token is mixed of."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel, image_size_to_num_patches
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor

from clasp_trt.bundle import Media, Medium, Run, Sequential
from clasp_trt.bundle.media import Anyres, content
from clasp_trt.runtime.media.processors.anyres import AnyresProcessor
from clasp_trt.runtime.media.seen import Seen
from clasp_trt.tiling import LIMITED_PINPOINTS

HALF = (0.5, 0.5, 0.5)
PINPOINTS = ((72, 72), (72, 144), (144, 72), (144, 144), (216, 72), (72, 216), (216, 144))
SMALL = Anyres(72, 14, PINPOINTS, "bicubic", 1 / 255, HALF, HALF, limit=2)
WHOLE = Anyres(384, 14, LIMITED_PINPOINTS, "bicubic", 1 / 255, HALF, HALF, limit=9)
SIZES = [(72, 72), (144, 144), (60, 80), (140, 150), (300, 100), (100, 300), (220, 130), (33, 77), (1, 1), (2, 400)]


class _Config:
    def __init__(self, record: Anyres) -> None:
        self.vision_config = type("Vision", (), {"image_size": record.tile, "patch_size": record.cell})
        self.image_grid_pinpoints = [list(each) for each in record.pinpoints]


def _library(record: Anyres) -> LlavaOnevisionImageProcessorPil:
    side, pinpoints = {"height": record.tile, "width": record.tile}, [list(each) for each in record.pinpoints]
    return LlavaOnevisionImageProcessorPil(
        size=side, image_grid_pinpoints=pinpoints, image_mean=list(record.mean), image_std=list(record.std)
    )


def _picture(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng([height, width]).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _packed(record: Anyres, features: torch.Tensor, size: tuple[int, int], newline: torch.Tensor) -> Any:
    model = type("Model", (), {"config": _Config(record)})
    aspect = f"anyres_max_{record.limit}"
    (packed,), _ = LlavaOnevisionModel.pack_image_features(model, [features], [list(size)], newline, aspect)
    return packed


def _mixed(seen: Seen, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of rows ``[rows, width]`` those of the tokens."""
    mixed: NDArray[np.float32] = (rows[seen.pack["row_index"]] * seen.pack["row_weight"][..., None]).sum(1)
    return mixed


@pytest.mark.parametrize("size", SIZES)
def test_pixels(size: tuple[int, int]) -> None:
    image = _picture(*size)
    expected = _library(SMALL)(image, return_tensors="np")["pixel_values"][0]
    np.testing.assert_array_equal(AnyresProcessor(SMALL)(image).vision["pixel_values"], expected)


@pytest.mark.parametrize("size", SIZES)
def test_every_token_is_the_mixture_that_the_library_packs(size: tuple[int, int]) -> None:
    seen = AnyresProcessor(SMALL)(_picture(*size))
    drawn = np.random.default_rng(0).standard_normal((len(seen.vision["pixel_values"]), 25, 8)).astype(np.float32)
    newline = np.full(8, 7, np.float32)
    found = _mixed(seen, np.concatenate([drawn.reshape(-1, 8), newline[None]]))
    expected = _packed(SMALL, torch.from_numpy(drawn), size, torch.from_numpy(newline)).numpy()
    # places along an axis of 15 are rounded to float32, and so are products of weights and sums of four
    np.testing.assert_allclose(found, expected, rtol=0, atol=64 * np.finfo(np.float32).eps)


@settings(max_examples=200, deadline=None)
@given(height=st.integers(1, 3000), width=st.integers(1, 3000))
def test_counts_at_the_published_sizes(height: int, width: int) -> None:
    pictures = type("Pictures", (), {"image_grid_pinpoints": [list(each) for each in WHOLE.pinpoints]})
    library = type("Library", (), {"image_processor": pictures, "num_image_tokens": 729})
    library.vision_aspect_ratio = "anyres_max_9"
    library._get_unpadded_features = lambda *sizes: LlavaOnevisionProcessor._get_unpadded_features(library, *sizes)
    found = AnyresProcessor(WHOLE).count(height, width)
    assert found == LlavaOnevisionProcessor._get_number_of_features(library, height, width, 384, 384)
    least, _, most = WHOLE.token_range
    assert least <= found <= most
    assert WHOLE.tiling.fit(height, width).tiles == image_size_to_num_patches(
        [height, width], pictures.image_grid_pinpoints, 384
    )


def test_the_most_are_of_pictures_that_are_just_not_shrunk() -> None:
    processor = AnyresProcessor(WHOLE)
    least, usual, most = WHOLE.token_range
    assert (least, usual) == (729, processor.count(1728, 2304))
    assert processor.count(2304, 2304) == 729 + 81 * 82
    assert 8765 == processor.count(1400, 1152) <= most < 8765 * 1.01


@pytest.mark.parametrize(("cap", "canvases", "most"), [(4096, 8, 3753), (3000, 5, 2997), (1485, 1, 1485), (1, 1, 1485)])
def test_a_cap_leaves_the_canvases_of_few_tiles(cap: int, canvases: int, most: int) -> None:
    capped = replace(WHOLE.tiling, most_tokens=cap)
    assert (len(capped.canvases), max(capped.token_range)) == (canvases, most)
    assert capped.count(384, 384) == 729 + 27 * 28


@pytest.mark.parametrize("size", SIZES)
def test_boxes_are_shares_of_the_view(size: tuple[int, int]) -> None:
    """Those of the canvas lie side by side: to the right of each the next, below each row the next."""
    seen = AnyresProcessor(SMALL)(_picture(*size))
    _, canvas = seen.blocks
    boxes = canvas.boxes.reshape(*canvas.grid[1:], 4)
    assert np.isnan(boxes[:, -1]).all()
    assert seen.boxes.shape == (AnyresProcessor(SMALL).count(*size), 4)
    placed = boxes[:, :-1]
    assert (placed[..., :2] <= placed[..., 2:]).all()
    assert ((placed >= 0) & (placed <= np.array([*seen.view.size] * 2))).all()
    gaps = np.concatenate(
        [(placed[:, 1:, 0] - placed[:, :-1, 2]).ravel(), (placed[1:, :, 1] - placed[:-1, :, 3]).ravel()]
    )
    assert ((gaps >= 0) & (gaps <= 2)).all(), "what a tile has beyond whole cells"


def test_a_token_looks_where_its_pixels_are() -> None:
    """Of pictures as bright as they are far to the right, or down, each token is as bright as the middle of its box."""
    for axis in (0, 1):
        ramp = np.broadcast_to(
            np.arange(144, dtype=np.uint8)[:, None] if axis else np.arange(144, dtype=np.uint8), (144, 144)
        )
        seen = AnyresProcessor(SMALL)(Image.fromarray(np.repeat(ramp[..., None], 3, axis=2)))
        tiles = (seen.vision["pixel_values"][:, 0, :70, :70] * 0.5 + 0.5) * 255
        cells = tiles.reshape(-1, 5, 14, 5, 14).mean((2, 4)).reshape(-1, 1)
        (bright,) = _mixed(seen, np.concatenate([cells, np.zeros((1, 1))]).astype(np.float32)).T
        boxes = seen.boxes
        inside = ~np.isnan(boxes[:, 0])
        middle = (boxes[inside, axis] + boxes[inside, axis + 2]) / 2 - 0.5
        assert len(set(middle[25:].tolist())) == 7, "10 rows of cells were shrunk to 7"
        assert np.abs(bright[inside] - middle).max() < 2, "of what lies between two tiles"


def test_it_is_data() -> None:
    written = content(Media(Medium(SMALL, Run("<image>", "<image>", 7, "", ""), Sequential(0))))["image"]["processor"]
    assert json.loads(json.dumps(written))["limit"] == 2
    assert [*written][-1] == "limit"
