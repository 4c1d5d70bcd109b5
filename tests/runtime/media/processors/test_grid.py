"""Grids against transformers' own: pixels bit for bit at odd sizes, windows and positions as its towers derive them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_window_index

from clasp_trt.bundle.media import Grid
from clasp_trt.errors import ImageError
from clasp_trt.runtime.media.processors.grid import GridProcessor
from tests.mistakes import says

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
QWEN2_5 = Grid(14, 2, 2, 56 * 56, 28 * 28 * 64, "bicubic", 1 / 255, MEAN, STD, window=8, table=None)
QWEN3 = Grid(16, 2, 2, 32 * 32, 32 * 32 * 64, "bicubic", 1 / 255, HALF, HALF, window=None, table=48)
SIZES = [
    (224, 224),
    (56, 56),
    (480, 640),
    (100, 300),
    (333, 77),
    (1, 1),
    (2, 400),
    (400, 3),
    (42, 70),
    (20, 4000),
]
GRIDS = [(56, 56), (28, 112), (224, 224), (140, 308), (308, 140), (28, 700), (252, 168)]


def _library(record: Grid) -> Qwen2VLImageProcessorPil:
    return Qwen2VLImageProcessorPil(
        size={"shortest_edge": record.least_pixels, "longest_edge": record.most_pixels}, patch_size=record.patch,
        merge_size=record.merge, temporal_patch_size=record.time, image_mean=record.mean, image_std=record.std,
    )  # fmt: skip


def _picture(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng([height, width]).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _same(record: Grid, image: Image.Image) -> None:
    theirs = _library(record)(image, return_tensors="np")
    seen = GridProcessor(record)(image)
    np.testing.assert_array_equal(seen.vision["patches"], theirs["pixel_values"][None])
    ((_, rows, columns),) = theirs["image_grid_thw"].tolist()
    (block,) = seen.blocks
    assert block.grid == (1, rows // record.merge, columns // record.merge)
    assert block.tokens == len(block.boxes) == GridProcessor(record).count(image.height, image.width)


@pytest.mark.parametrize("record", [QWEN2_5, QWEN3], ids=["14", "16"])
@pytest.mark.parametrize("size", SIZES)
def test_pixels(record: Grid, size: tuple[int, int]) -> None:
    _same(record, _picture(*size))


@given(height=st.integers(1, 300), width=st.integers(1, 300))
@settings(max_examples=30, deadline=None)
def test_pixels_of_any_shape(height: int, width: int) -> None:
    if max(height, width) <= 200 * min(height, width):
        _same(QWEN2_5, _picture(height, width))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P"])
def test_pixels_of_other_modes(mode: str) -> None:
    _same(QWEN2_5, _picture(90, 120).convert(mode))


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1), (2, 401)])
def test_a_strip_is_refused_as_in_the_library(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="aspect ratio"):
        _library(QWEN2_5)(_picture(*size), return_tensors="np")
    with pytest.raises(ImageError) as error:
        GridProcessor(QWEN2_5)(_picture(*size))
    says(error, f"{size[1]}x{size[0]}", "200 times")


@pytest.mark.parametrize("size", GRIDS)
def test_patches_of_a_window_are_those_that_the_tower_puts_together(size: tuple[int, int]) -> None:
    vision = GridProcessor(QWEN2_5)(_picture(*size)).vision
    rows, columns = size[0] // 14, size[1] // 14
    index, ends = get_vision_window_index(torch.tensor([[1, rows, columns]]), 2, 112, 14)
    ordered = (index[:, None] * 4 + torch.arange(4)).reshape(-1).numpy()  # their unit is a block of four
    expected = [set(part.tolist()) for part in np.split(ordered, ends[1:-1].numpy())]
    slots = vision["window_rows"].reshape(vision["window_valid"].shape)
    found = [set(row[valid].tolist()) for row, valid in zip(slots, vision["window_valid"], strict=True)]
    assert found == expected
    np.testing.assert_array_equal(vision["window_rows"][vision["row_slots"]], np.arange(rows * columns))
    assert vision["window_valid"].reshape(-1)[vision["row_slots"]].all()
    assert vision["window_valid"].sum() == rows * columns


@pytest.mark.parametrize("size", [(64, 64), (32, 32), (256, 224), (96, 320), (32, 1600)])
def test_places_in_the_table_are_the_towers(size: tuple[int, int]) -> None:
    vision = GridProcessor(QWEN3)(_picture(*size)).vision
    grid = torch.tensor([[1, size[0] // 16, size[1] // 16]])
    index, weight = get_vision_interpolation_indices_and_weights(grid, 48, align_corners=True, spatial_merge_size=2)
    np.testing.assert_array_equal(vision["table_index"], index)
    np.testing.assert_array_equal(vision["table_weight"], weight)


def test_a_patch_lies_where_its_values_come_from() -> None:
    """Of a picture whose patches are of one colour each, the numbers of their rows and columns."""
    row, column = np.indices((6, 8))
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = row, column
    image = Image.fromarray(pixels.repeat(14, 0).repeat(14, 1))
    plain = Grid(14, 2, 2, 56 * 56, 28 * 28 * 64, "nearest", 1.0, (0.0,) * 3, (1.0,) * 3, window=8, table=None)
    vision = GridProcessor(plain)(image).vision
    values = vision["patches"][0].reshape(48, 3, -1)
    np.testing.assert_array_equal(values[:, :2, 0].T, vision["positions"])


def test_boxes_cover_what_the_model_saw() -> None:
    seen = GridProcessor(QWEN2_5)(_picture(100, 300))
    assert seen.view.size == (308, 112)
    boxes = seen.boxes
    assert boxes[0].tolist() == [0, 0, 28, 28]
    assert boxes[1].tolist() == [28, 0, 56, 28]
    assert boxes[-1].tolist() == [280, 84, 308, 112]
    assert (boxes[:, 2:] - boxes[:, :2]).prod(axis=1).sum() == 308 * 112


@pytest.mark.parametrize("record", [QWEN2_5, QWEN3])
def test_tensors_are_what_the_record_says(record: Grid) -> None:
    vision = GridProcessor(record)(_picture(100, 300)).vision
    assert {name: (str(array.dtype), array.ndim) for name, array in vision.items()} == {
        each.name: (each.dtype, len(each.shape)) for each in record.inputs
    }
    for each in record.inputs:
        for size, dim in zip(vision[each.name].shape, each.shape, strict=True):
            if isinstance(dim, int):
                assert size == dim
            else:
                assert record.sizes[dim][0] <= size <= record.sizes[dim][-1]
