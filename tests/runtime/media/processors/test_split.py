"""Pictures split into whole tiles, against transformers' own: pixels bit for bit, and as many tokens, at odd sizes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from clasp_trt.bundle import Longest, Media, Medium, Ratio, Run, Sequential
from clasp_trt.bundle.media import content
from clasp_trt.runtime.media.processors import processor
from tests.prompts import boxes

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
PIXELS: dict[str, Any] = {"resample": "bicubic", "rescale": 1 / 255, "mean": MEAN, "std": STD}
SHARP: dict[str, Any] = {"resample": "lanczos", "rescale": 1 / 255, "mean": HALF, "std": HALF}
RATIO = Ratio(tile=56, patch=14, merge=2, least=1, most=12, **PIXELS)
SOME = Ratio(tile=56, patch=14, merge=2, least=3, most=6, **PIXELS)
LONGEST = Longest(tile=42, patch=14, merge=3, longest=168, split=True, **SHARP)
ODD = Longest(tile=40, patch=14, merge=2, longest=175, split=True, **SHARP)
WHOLE = Longest(tile=42, patch=14, merge=3, longest=168, split=False, **SHARP)
SIZES = [
    (56, 56),
    (112, 112),
    (60, 80),
    (100, 300),
    (300, 100),
    (33, 77),
    (1, 1),
    (1, 4000),
    (4000, 1),
    (90, 91),
    (7, 400),
]


def _picture(height: int, width: int, mode: str = "RGB") -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng([height, width]).integers(0, 256, (height, width, bands), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze() if bands == 1 else pixels, mode)


def _by_ratio(record: Ratio) -> Any:
    side = {"height": record.tile, "width": record.tile}
    return GotOcr2ImageProcessorPil(
        size=side, crop_to_patches=True, min_patches=record.least, max_patches=record.most, image_mean=MEAN,
        image_std=STD,
    )  # fmt: skip


def _by_edge(kind: Any, record: Longest) -> Any:
    return kind(
        size={"longest_edge": record.longest}, max_image_size={"longest_edge": record.tile},
        do_image_splitting=record.split,
    )  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("record", [RATIO, SOME], ids=["1-12", "3-6"])
def test_pixels_by_ratio(record: Ratio, size: tuple[int, int]) -> None:
    image = _picture(*size)
    expected = _by_ratio(record)(image, return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal(processor(record)(image).vision["pixel_values"], expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("record", [LONGEST, ODD, WHOLE], ids=["even", "odd", "whole"])
@pytest.mark.parametrize("kind", [Idefics3ImageProcessorPil, SmolVLMImageProcessorPil])
def test_pixels_by_edge(kind: Any, record: Longest, size: tuple[int, int]) -> None:
    image = _picture(*size)
    theirs = _by_edge(kind, record)(image, return_tensors="np", return_row_col_info=True)
    seen = processor(record)(image)
    np.testing.assert_array_equal(seen.vision["pixel_values"], theirs["pixel_values"][0])
    assert max(block.row for block in seen.blocks) == theirs["rows"][0][0]
    assert max(block.column for block in seen.blocks) == theirs["cols"][0][0]


@pytest.mark.parametrize("mode", ["RGBA", "L", "LA"])
def test_pixels_of_other_modes(mode: str) -> None:
    image = _picture(60, 80, mode)
    expected = _by_ratio(RATIO)(image, return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal(processor(RATIO)(image).vision["pixel_values"], expected)
    theirs = _by_edge(Idefics3ImageProcessorPil, LONGEST)(image, return_tensors="np")["pixel_values"][0]
    np.testing.assert_array_equal(processor(LONGEST)(image).vision["pixel_values"], theirs)


SIDES = st.one_of(st.integers(1, 3000), st.integers(1, 40))


@settings(max_examples=300, deadline=None)
@given(height=SIDES, width=SIDES, least=st.integers(1, 4), most=st.integers(4, 16))
def test_as_many_tiles_by_ratio(height: int, width: int, least: int, most: int) -> None:
    record = Ratio(tile=448, patch=14, merge=2, least=least, most=most, **PIXELS)
    assert record.tiles(height, width) == _by_ratio(record).get_number_of_image_patches(
        height, width, {"crop_to_patches": True}
    )
    assert record.count(height, width) == 256 * record.tiles(height, width)
    assert record.tile_range[0] <= record.tiles(height, width) <= record.tile_range[2]


@settings(max_examples=300, deadline=None)
@given(height=SIDES, width=SIDES, tile=st.integers(20, 60), longest=st.integers(20, 200), split=st.booleans())
def test_tiles_by_edge_are_in_their_range(height: int, width: int, tile: int, longest: int, split: bool) -> None:
    record = Longest(tile=tile, patch=10, merge=2, longest=longest, split=split, **SHARP)
    least, _, most = record.tile_range
    assert least <= record.tiles(height, width) <= most
    tall, wide = record.canvas(height, width)
    assert tall % tile == wide % tile == 0


def test_published_numbers_of_tokens() -> None:
    internvl = Ratio(tile=448, patch=14, merge=2, least=1, most=12, **PIXELS)
    assert internvl.token_range == (256, 3328, 3328)
    assert [internvl.count(*size) for size in ((448, 448), (480, 640), (896, 448))] == [256, 3328, 768]
    smolvlm = Longest(tile=512, patch=16, merge=4, longest=2048, split=True, **SHARP)
    assert smolvlm.token_range == (320, 832, 1088)
    assert [smolvlm.count(*size) for size in ((480, 640), (500, 500), (1, 4000))] == [832, 1088, 320]
    larger = Longest(tile=384, patch=14, merge=3, longest=1536, split=True, **SHARP)
    assert (larger.tokens, larger.rows, larger.token_range) == (81, 729, (405, 1053, 1377))
    idefics3 = Longest(tile=364, patch=14, merge=2, longest=1456, split=True, **SHARP)
    assert (idefics3.tokens, idefics3.token_range[2]) == (169, 2873)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("record", [RATIO, ODD, WHOLE], ids=["ratio", "longest", "whole"])
def test_boxes_lie_in_the_view(record: Any, size: tuple[int, int]) -> None:
    seen = processor(record)(_picture(*size))
    assert len(seen.boxes) == record.count(*size) == sum(block.tokens for block in seen.blocks)
    assert (seen.boxes[:, :2] < seen.boxes[:, 2:]).all()
    assert (seen.boxes >= 0).all()
    assert (seen.boxes <= np.array([*seen.view.size] * 2)).all()


def test_a_token_looks_where_its_pixels_are() -> None:
    """One bright token of the canvas, in the tile of the second row and the first column."""
    image = Image.new("RGB", (112, 112))
    image.paste((255, 255, 255), (28, 56, 56, 84))
    seen = processor(Ratio(tile=56, patch=14, merge=2, least=4, most=4, **PIXELS))(image)
    tiles = seen.vision["pixel_values"][:4, 0].reshape(4, 2, 28, 2, 28).mean(axis=(2, 4)).reshape(-1)
    bright = int(tiles.argmax())
    assert seen.boxes[bright].tolist() == [28, 56, 56, 84]
    assert (seen.blocks[bright // 4].row, seen.blocks[bright // 4].column) == (2, 1)


def test_the_whole_picture_is_last_and_no_tile() -> None:
    *tiles, whole = processor(RATIO)(_picture(80, 60)).blocks
    assert [(block.row, block.column) for block in tiles[:4]] == [(1, 1), (1, 2), (1, 3), (2, 1)]
    assert (whole.row, whole.column, len(tiles)) == (0, 0, 12)
    np.testing.assert_array_equal(whole.boxes, boxes(2) * np.array([3, 4] * 2) * 28)


@pytest.mark.parametrize("record", [RATIO, LONGEST], ids=["ratio", "longest"])
def test_it_is_data(record: Any) -> None:
    written = content(Media(Medium(record, Run("<image>", "<image>", 7, "", ""), Sequential(0))))["image"]["processor"]
    own = {"least": 1, "most": 12} if record is RATIO else {"longest": 168, "split": True}
    assert json.loads(json.dumps(written)) == {
        "kind": record.kind, "tile": record.tile, "patch": 14, "merge": record.merge, **own,
        "resample": record.resample, "rescale": 1 / 255, "mean": list(record.mean), "std": list(record.std),
    }  # fmt: skip
