"""Image settings of grids, old and new: the pixels are those that transformers makes by them, or they are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from clasp_trt.bundle import Grid, Media
from clasp_trt.errors import CheckpointError
from clasp_trt.export.grids import PIXELS, grids, sized
from clasp_trt.patching import Patching
from clasp_trt.runtime.media.processors import processor
from tests.mistakes import says

PICTURE = Image.effect_noise((150, 80), 90).convert("RGB")
TOWER = Patching(14, 2, *PIXELS, window=8)
ROOT = Path("model")


def _media(settings: dict[str, Any], tower: Patching = TOWER) -> Media:
    return grids(settings, sized(settings, tower, ROOT), 2, None, None, "<|image_pad|>", 7, ROOT)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"size": None, "max_pixels": None},
        {"min_pixels": 784, "max_pixels": 7840, "image_processor_type": "Qwen2VLImageProcessor"},
        {"size": {"shortest_edge": 784, "longest_edge": 7840}, "image_processor_type": "Qwen2VLImageProcessorFast"},
        {"size": {"shortest_edge": 784, "longest_edge": 78400}, "max_pixels": 7840},
        {"size": {"min_pixels": 1, "max_pixels": 2}, "min_pixels": 15680, "max_pixels": 78400},
        {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2},
        {"do_normalize": False, "rescale_factor": 0.1},
        {"do_rescale": False, "do_convert_rgb": False},
        {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2},
    ],
)
def test_pixels_are_the_librarys(settings: dict[str, Any]) -> None:
    of = {name: value for name, value in settings.items() if name != "image_processor_type"}
    theirs = Qwen2VLImageProcessorPil(**of)(PICTURE, return_tensors="np")["pixel_values"]
    found = processor(_media(settings).image.processor)(PICTURE)
    np.testing.assert_array_equal(found.vision["patches"][0], theirs)


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"size": 224}, ("size", 224, "shortest_edge")),
        ({"size": {"min_pixels": 1, "max_pixels": 2}}, ("size", "max_pixels", "longest_edge")),
        ({"size": {"longest_edge": 50176}}, ("size", "shortest_edge")),
        ({"size": {"height": 1, "width": 1}}, ("size", "height")),
        ({"size": {"shortest_edge": 5000, "longest_edge": 4000}}, ("shortest_edge", 5000, 4000)),
        ({"max_pixels": 3000}, ("shortest_edge", 3136, 3000)),
        ({"max_pixels": "all"}, ("longest_edge", "all")),
        ({"min_pixels": 0}, ("shortest_edge", 0)),
        ({"max_pixels": 2**30}, ("longest_edge", 2**30)),
        ({"patch_size": 16}, ("patch_size", 16, 14)),
        ({"merge_size": 1}, ("merge_size", 1, 2)),
        ({"temporal_patch_size": 1}, ("temporal_patch_size", 1, 2)),
        ({"do_resize": False}, ("do_resize", "true")),
        ({"image_mean": [0.5]}, ("image_mean",)),
        ({"image_processor_type": "CLIPImageProcessor"}, ("image_processor_type", "Qwen2VLImageProcessor")),
    ],
)
def test_what_cannot_be_read_is_refused(settings: dict[str, Any], facts: tuple[object, ...]) -> None:
    with pytest.raises(CheckpointError) as error:
        _media(settings)
    says(error, "model", *facts)


def test_a_cap_is_what_the_bundle_holds() -> None:
    found = _media({"max_pixels": 12845056}, Patching(14, 2, *PIXELS, window=8, most_tokens=4096)).image.processor
    assert isinstance(found, Grid)
    assert (found.least_pixels, found.most_pixels, found.token_range[-1]) == (3136, 4096 * 28 * 28, 4096)
    assert _media({"max_pixels": 12845056}).image.processor.token_range[-1] == 16384
