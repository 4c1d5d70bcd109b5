"""The settings of CLIP's image processor: resolved once, and refused in one line where they cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from clasp_trt.bundle import clip_settings
from clasp_trt.bundle.media import RESAMPLINGS, Square
from clasp_trt.errors import BundleError
from clasp_trt.notice import Notice
from tests.mistakes import says

LLAVA: dict[str, Any] = {  # llava-hf/llava-1.5-7b-hf
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


def test_the_published_settings() -> None:
    made = clip_settings.square(LLAVA, 336, 14)
    mean, std = tuple(LLAVA["image_mean"]), tuple(LLAVA["image_std"])
    assert made == Square(336, 14, 336, None, "bicubic", 1 / 255, mean, std)
    assert made.tokens == 576


def test_absent_keys_are_those_of_clip_and_null_flags_are_false() -> None:
    values = dict.fromkeys(key for key in LLAVA if not key.startswith("do_"))
    assert clip_settings.square({}, 224, 32) == clip_settings.square(values, 224, 32)
    flags = ("do_rescale", "do_normalize", "do_resize")
    null, false = dict.fromkeys(flags), dict.fromkeys(flags, False)
    assert clip_settings.square(null, 224, 32) == clip_settings.square(false, 224, 32)
    bare = clip_settings.square({"do_rescale": False, "do_normalize": False, "do_resize": False}, 224, 32)
    assert bare == Square(224, 32, None, None, "bicubic", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_siglip_has_its_own_defaults() -> None:
    made = clip_settings.square({"image_processor_type": "SiglipImageProcessor"}, 224, 14)
    half = (0.5, 0.5, 0.5)
    assert made == Square(224, 14, None, (224, 224), "bicubic", 1 / 255, half, half)


def test_filters_have_the_names_of_pillow() -> None:
    from PIL.Image import Resampling

    assert [Resampling(number).name.lower() for number in range(len(RESAMPLINGS))] == list(RESAMPLINGS)


@pytest.mark.parametrize("kind", clip_settings.SUPPORTED)
def test_the_family_is_taken(kind: str) -> None:
    assert clip_settings.square({**LLAVA, "image_processor_type": kind}, 336, 14).side == 336


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_processor_type", "Qwen2VLImageProcessor"),
        ("image_processor_type", 3),
        ("do_resize", "yes"),
        ("do_convert_rgb", 1),
        ("do_center_crop", False),
        ("pad_size", {"height": 400, "width": 400}),
        ("size", {"longest_edge": 3}),
        ("size", {"shortest_edge": 0}),
        ("size", {"shortest_edge": True}),
        ("size", "336"),
        ("size", {"height": 10**9, "width": 1}),
        ("crop_size", {"height": 3}),
        ("crop_size", -1),
        ("resample", 17),
        ("rescale_factor", float("nan")),
        ("rescale_factor", 0),
        ("image_mean", [0.5, 0.5]),
        ("image_mean", [0.5, 0.5, "x"]),
        ("image_std", [0.5, 0.5, 0]),
        *((key, 10**400) for key in ("image_processor_type", "size", "crop_size", "resample", "rescale_factor")),
        *((key, [10**400] * 3) for key in ("image_mean", "image_std")),
    ],
    ids=lambda each: str(each)[:40],
)
def test_a_wrong_setting_is_one_line(key: str, value: object) -> None:
    with pytest.raises(BundleError, match=key) as caught:
        clip_settings.square({**LLAVA, "do_pad": True, key: value}, 336, 14)
    assert "expected" in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("kind", ["LlavaImageProcessor", "LlavaImageProcessorFast", None])
def test_padding_to_a_square_is_refused_by_name(kind: str | None) -> None:
    settings = {**LLAVA, "image_processor_type": kind, "do_pad": True}
    with pytest.raises(BundleError) as caught:
        clip_settings.square(settings, 336, 14)
    says(caught, "do_pad", kind or "LlavaImageProcessor")
    assert clip_settings.square({**settings, "do_pad": False}, 336, 14) == clip_settings.square(LLAVA, 336, 14)


def test_a_filter_by_name_is_told() -> None:
    """transformers' Pillow backend takes any name for bilinear, so that is what the answer would be of."""
    with pytest.warns(Notice) as told:
        made = clip_settings.square({**LLAVA, "resample": "bicubic"}, 336, 14)
    assert made.resample == "bilinear"
    says(told[0].message, "resample", "bicubic", "bilinear")


@pytest.mark.parametrize("change", [{"crop_size": 224}, {"do_center_crop": False, "size": {"height": 9, "width": 7}}])
def test_pictures_of_another_size(change: dict[str, object]) -> None:
    with pytest.raises(BundleError, match=r"pictures of (224x224|7x9).*336x336"):
        clip_settings.square({**LLAVA, **change}, 336, 14)
