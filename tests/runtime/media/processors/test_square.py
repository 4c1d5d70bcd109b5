"""Kind ``square`` equals transformers' Pillow-backed CLIP processor, bit for bit wherever the image is made
whole."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clasp_trt.bundle import clip_settings
from clasp_trt.bundle.media import Square
from clasp_trt.bundle.media_reader import PROCESSORS
from clasp_trt.runtime.media.image import load_image
from clasp_trt.runtime.media.processors import KINDS, Processor, processor
from clasp_trt.runtime.media.processors import square as module

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
    "stretched": {"size": {"height": 144, "width": 96}, "crop_size": {"height": 80, "width": 80}, "resample": 1},
    "padded": {"size": {"shortest_edge": 50}, "crop_size": {"height": 71, "width": 71}},
    "no crop": {"size": {"height": 48, "width": 48}, "do_center_crop": False, "resample": 0},
    "crop only": {"do_resize": False, "crop_size": {"height": 63, "width": 63}},
    "raw": {"size": 64, "crop_size": 64, "do_rescale": False, "do_normalize": False},
    "unscaled": {"size": 64, "crop_size": 64, "do_rescale": False},
    "half": {
        "size": 64,
        "crop_size": 64,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "rescale_factor": 1 / 127.5,
    },
    "both edges": {"size": {"shortest_edge": 64, "longest_edge": 96}, "crop_size": 64},
    "both edges, both binding": {"size": {"shortest_edge": 64, "longest_edge": 65}, "crop_size": 64},
    "edges of the picture": {"size": {"shortest_edge": 60, "longest_edge": 80}, "crop_size": 64},
    "lists": {"size": [48, 72], "crop_size": [40, 40]},
    "a number for a square": {"size": 48, "default_to_square": True, "crop_size": 40},
    "KOSMOS": {"size": 48, "use_square_size": True},
    "padded to itself": {"image_processor_type": "CLIPImageProcessor", "size": 64, "crop_size": 64, "do_pad": True},
    "null for no": {**dict.fromkeys(("do_rescale", "do_normalize", "do_resize", "do_pad")), "crop_size": 64},
    "one mean": {"size": 64, "crop_size": 64, "image_mean": 0.5, "image_std": 0.25},
    "LLaVA's own": {"image_processor_type": "LlavaImageProcessor", "size": 64, "crop_size": 60, "do_pad": False},
    "a filter by name": {"size": 64, "crop_size": 64, "resample": "bicubic"},
}


def ours(config: dict[str, Any]) -> Processor:
    """The processor of a checkpoint with these settings."""
    made = config.get("size", 224) if config.get("do_center_crop") is False else config.get("crop_size", 224)
    side = made["height"] if isinstance(made, dict) else made[0] if isinstance(made, list) else made
    return processor(clip_settings.square(config, side, 14))


def pixels(made: Processor, image: Image.Image) -> np.ndarray[Any, Any]:
    return made(image).vision["pixel_values"]


def reference(config: dict[str, Any], images: list[Image.Image]) -> np.ndarray[Any, Any]:
    kind = "llava" if "Llava" in config.get("image_processor_type", "") else "clip"
    module = pytest.importorskip(f"transformers.models.{kind}.image_processing_pil_{kind}")
    made = module.CLIPImageProcessorPil if kind == "clip" else module.LlavaImageProcessorPil
    fields = {key: value for key, value in config.items() if not key.endswith(("_type", "_class"))}
    values: np.ndarray[Any, Any] = made(**fields)(images, return_tensors="np")["pixel_values"]
    return values


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.filterwarnings("ignore::clasp_trt.notice.Notice")
def test_equals_transformers_on_every_mode(name: str, variants: dict[str, Image.Image]) -> None:
    made = ours(CONFIGS[name])
    for mode, image in variants.items():
        found, theirs = pixels(made, image), reference(CONFIGS[name], [image])
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, theirs.astype(np.float32), err_msg=mode)


def test_siglip_equals_transformers(variants: dict[str, Image.Image]) -> None:
    """Whose processor is a square of the whole picture, whatever its aspect."""
    theirs = pytest.importorskip("transformers.models.siglip.image_processing_pil_siglip").SiglipImageProcessorPil
    size = {"size": {"height": 98, "width": 98}}
    made = processor(clip_settings.square({"image_processor_type": "SiglipImageProcessor", **size}, 98, 14))
    for mode, image in variants.items():
        expected = theirs(**size)([image], return_tensors="np")["pixel_values"]
        np.testing.assert_array_equal(pixels(made, image), expected.astype(np.float32), err_msg=mode)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_equals_transformers_on_turned_photographs(
    orientation: int, variants: dict[str, Image.Image], encode: Callable[..., bytes], tmp_path: Path
) -> None:
    theirs = pytest.importorskip("transformers.image_utils").load_image
    file = tmp_path / "turned.jpg"
    file.write_bytes(encode(variants["RGB odd"], "JPEG", orientation))
    np.testing.assert_array_equal(pixels(ours(LLAVA), load_image(file)), reference(LLAVA, [theirs(str(file))]))


@pytest.mark.parametrize("mode", ["RGB", "RGB odd", "RGB tall", "RGB wide", "RGB tiny"])
@pytest.mark.parametrize("name", ["llava", "ints", "stretched", "padded", "crop only"])
def test_resizing_the_crop_alone_is_within_one_level(
    mode: str, name: str, variants: dict[str, Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ours({**CONFIGS[name], "do_normalize": False, "do_rescale": False})
    whole = pixels(made, variants[mode])
    monkeypatch.setattr(module, "MAX_RESIZED_PIXELS", 0)
    part = pixels(made, variants[mode])
    assert np.abs(whole - part).max() <= 1


@pytest.mark.parametrize("aspect", [190, 200])
def test_far_crops_are_within_one_level(aspect: int, photos: dict[str, Path]) -> None:
    """Beyond the bound Pillow's box has single precision; here the window starts tens of thousands of pixels
    in."""
    strip = Image.open(photos["coffee"]).resize((11 * aspect, 11))
    size = {"size": {"shortest_edge": 336}, "crop_size": 336}
    config = {**size, "do_normalize": False, "do_rescale": False}
    assert 336 * 336 * aspect > module.MAX_RESIZED_PIXELS
    whole = reference(config, [strip])
    assert np.abs(pixels(ours(config), strip) - whole).max() <= 1


def test_elongated_images_stay_small(photos: dict[str, Path]) -> None:
    """Whole, this would be 1024 x 2,048,000 pixels: 6 GB."""
    strip = Image.open(photos["coffee"]).resize((4000, 2))
    made = ours({"size": 1024, "crop_size": 336})
    tracemalloc.start()
    assert pixels(made, strip).shape == (1, 3, 336, 336)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_the_view_is_what_is_scaled(variants: dict[str, Image.Image]) -> None:
    made = ours(LLAVA)
    view = made(variants["RGBA"]).view
    assert (view.mode, view.size) == ("RGB", (336, 336))
    again = ours({**LLAVA, "do_resize": False})
    np.testing.assert_array_equal(pixels(again, view), pixels(made, variants["RGBA"]))


@pytest.mark.parametrize(("side", "cell", "grid"), [(336, 14, 24), (384, 14, 27), (896, 56, 16), (13, 14, 0)])
def test_every_token_has_its_cell(side: int, cell: int, grid: int) -> None:
    record = Square(side, cell, side, None, "bicubic", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    made = processor(record)
    seen = made(Image.new("RGB", (2 * side, side)))
    (block,) = seen.blocks
    assert (block.tokens, block.grid) == (grid * grid, (1, grid, grid))
    assert made.count(1, 10**6) == record.tokens == grid * grid
    assert (seen.boxes.dtype, seen.boxes.shape) == (np.float32, (grid * grid, 4))
    for number, box in enumerate(seen.boxes.tolist()):
        row, column = divmod(number, grid)
        assert box == [column * cell, row * cell, (column + 1) * cell, (row + 1) * cell]
    assert seen.boxes.max(initial=0) <= side


def test_every_kind_of_the_manifest_has_a_processor() -> None:
    assert list(KINDS) == list(PROCESSORS)
