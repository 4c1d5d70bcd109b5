"""Preprocessor equals transformers' Pillow-backed CLIP processor, bit for bit wherever the image is made
whole."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clasp_trt.errors import BundleError, ImageError
from clasp_trt.runtime.media import preprocess as module
from clasp_trt.runtime.media.image import load_image
from clasp_trt.runtime.media.preprocess import Preprocessor

LLAVA = {  # llava-hf/llava-1.5-7b-hf
    "crop_size": {"height": 336, "width": 336},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "CLIPImageProcessor",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "processor_class": "LlavaProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 336},
}
CONFIGS: dict[str, dict[str, Any]] = {
    "llava": LLAVA,
    "defaults": {},
    "ints": {"size": 64, "crop_size": 60, "resample": 2},
    "square": {"size": {"height": 144, "width": 96}, "crop_size": {"height": 80, "width": 90}, "resample": 1},
    "padded": {"size": {"shortest_edge": 50}, "crop_size": {"height": 71, "width": 75}},
    "no crop": {"size": {"height": 48, "width": 52}, "do_center_crop": False, "resample": 0},
    "crop only": {"do_resize": False, "crop_size": {"height": 63, "width": 61}},
    "raw": {"size": 64, "crop_size": 64, "do_rescale": False, "do_normalize": False},
    "unscaled": {"size": 64, "crop_size": 64, "do_rescale": False},
    "half": {
        "size": 64,
        "crop_size": 64,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "rescale_factor": 1 / 127.5,
    },
}


def reference(config: dict[str, Any], images: list[Image.Image]) -> np.ndarray[Any, Any]:
    processor = pytest.importorskip("transformers.models.clip.image_processing_pil_clip").CLIPImageProcessorPil
    fields = {key: value for key, value in config.items() if not key.endswith(("_type", "_class"))}
    pixels: np.ndarray[Any, Any] = processor(**fields)(images, return_tensors="np")["pixel_values"]
    return pixels


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_transformers_on_every_mode(name: str, variants: dict[str, Image.Image]) -> None:
    preprocessor = Preprocessor.from_json(CONFIGS[name])
    for mode, image in variants.items():
        ours, theirs = preprocessor([image]), reference(CONFIGS[name], [image])
        assert ours.dtype == np.float32
        assert ours.flags.c_contiguous
        np.testing.assert_array_equal(ours, theirs.astype(np.float32), err_msg=mode)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_equals_transformers_on_turned_photographs(
    orientation: int, variants: dict[str, Image.Image], encode: Callable[..., bytes], tmp_path: Path
) -> None:
    theirs = pytest.importorskip("transformers.image_utils").load_image
    file = tmp_path / "turned.jpg"
    file.write_bytes(encode(variants["RGB odd"], "JPEG", orientation))
    ours = Preprocessor.from_json(LLAVA)([load_image(file)])
    np.testing.assert_array_equal(ours, reference(LLAVA, [theirs(str(file))]))


def test_a_batch_is_its_images(variants: dict[str, Image.Image]) -> None:
    preprocessor = Preprocessor.from_json(LLAVA)
    images = [variants["RGB"], variants["L"], variants["RGB tall"]]
    batch = preprocessor(images)
    assert batch.shape == (3, 3, 336, 336)
    for row, image in zip(batch, images, strict=True):
        np.testing.assert_array_equal(row, preprocessor([image])[0])


@pytest.mark.parametrize("mode", ["RGB", "RGB odd", "RGB tall", "RGB wide", "RGB tiny"])
@pytest.mark.parametrize("name", ["llava", "ints", "square", "padded", "crop only"])
def test_resizing_the_crop_alone_is_within_one_level(
    mode: str, name: str, variants: dict[str, Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    preprocessor = Preprocessor.from_json({**CONFIGS[name], "do_normalize": False, "do_rescale": False})
    whole = preprocessor([variants[mode]])
    monkeypatch.setattr(module, "MAX_RESIZED_PIXELS", 0)
    part = preprocessor([variants[mode]])
    assert np.abs(whole - part).max() <= 1


@pytest.mark.parametrize("aspect", [190, 200])
def test_far_crops_are_within_one_level(aspect: int, photos: dict[str, Path]) -> None:
    """Beyond the bound Pillow's box has single precision; here the window starts tens of thousands of pixels
    in."""
    strip = Image.open(photos["coffee"]).resize((11 * aspect, 11))
    size = {"size": {"shortest_edge": 336}, "crop_size": 336}
    config = {**size, "do_normalize": False, "do_rescale": False}
    preprocessor = Preprocessor.from_json(config)
    assert 336 * 336 * aspect > module.MAX_RESIZED_PIXELS
    whole = reference(config, [strip])
    assert np.abs(preprocessor([strip]) - whole).max() <= 1


def test_elongated_images_stay_small(photos: dict[str, Path]) -> None:
    """Whole, this would be 1024 x 2,048,000 pixels: 6 GB."""
    strip = Image.open(photos["coffee"]).resize((4000, 2))
    preprocessor = Preprocessor.from_json({"size": 1024, "crop_size": 336})
    tracemalloc.start()
    assert preprocessor([strip]).shape == (1, 3, 336, 336)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    uncropped = Preprocessor.from_json({"size": 1024, "do_center_crop": False})
    with pytest.raises(ImageError, match="2048000x1024"):
        uncropped([strip])


def test_refusals(variants: dict[str, Image.Image]) -> None:
    with pytest.raises(ImageError, match="no image"):
        Preprocessor.from_json({})([])
    uncropped = Preprocessor.from_json({"do_center_crop": False})
    with pytest.raises(ImageError, match="different sizes"):
        uncropped([variants["RGB"], variants["RGB tall"]])
    with pytest.raises(ImageError, match="mode L "):
        Preprocessor.from_json({"do_convert_rgb": False})([variants["L"]])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_processor_type", "Qwen2VLImageProcessor"),
        ("image_processor_type", 3),
        ("do_resize", "yes"),
        ("do_pad", True),
        ("size", {"longest_edge": 3}),
        ("size", {"shortest_edge": 0}),
        ("size", {"shortest_edge": True}),
        ("size", "336"),
        ("size", {"height": 10**9, "width": 1}),
        ("crop_size", {"height": 3}),
        ("crop_size", -1),
        ("resample", 17),
        ("resample", "bicubic"),
        ("rescale_factor", float("nan")),
        ("rescale_factor", 0),
        ("image_mean", [0.5, 0.5]),
        ("image_mean", [0.5, 0.5, "x"]),
        ("image_std", [0.5, 0.5, 0]),
    ],
)
def test_a_wrong_config_is_one_line(key: str, value: object) -> None:
    with pytest.raises(BundleError, match=key) as caught:
        Preprocessor.from_json({**LLAVA, key: value})
    assert "expected" in str(caught.value)


@pytest.mark.parametrize("kind", module.SUPPORTED)
def test_the_family_is_taken(kind: str) -> None:
    assert Preprocessor.from_json({**LLAVA, "image_processor_type": kind}).crop == (336, 336)


def test_the_view_is_what_is_scaled(variants: dict[str, Image.Image]) -> None:
    preprocessor = Preprocessor.from_json(LLAVA)
    view = preprocessor.view(variants["RGBA"])
    assert (view.mode, view.size) == ("RGB", (336, 336))
    uncropped = Preprocessor.from_json({**LLAVA, "do_resize": False, "do_center_crop": False})
    np.testing.assert_array_equal(uncropped([view]), preprocessor([variants["RGBA"]]))
