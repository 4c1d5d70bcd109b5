"""The settings of CLIP's, SigLIP's and LLaVA's image processors, ``preprocessor_config.json``, resolved to a
:class:`Square` as transformers 5 resolves them.

Used where a checkpoint becomes a bundle, and for bundles of schema 1, which leave it to their reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from clasp_trt.bundle.media import MAX_SIDE, MAX_VALUE, RESAMPLINGS, Square
from clasp_trt.errors import BundleError
from clasp_trt.notice import tell

Channels = tuple[float, float, float]
_MOST = 100  # characters of a value that an error shows
_BICUBIC, _OTHERWISE = RESAMPLINGS.index("bicubic"), "bilinear"


@dataclass(frozen=True)
class _Defaults:
    """What a processor takes for settings that are absent: ``shortest_edge`` or ``size`` as in :class:`Square`."""

    shortest_edge: int | None
    size: tuple[int, int] | None
    center_crop: bool
    mean: Channels
    std: Channels
    pads: bool = False
    """Whether ``do_pad`` makes a square of a picture before it is resized."""


MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's pictures, by channel."""
_CLIP = _Defaults(224, None, True, MEAN, STD)
_LLAVA = replace(_CLIP, pads=True)
_SIGLIP = _Defaults(None, (224, 224), False, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
_PROCESSORS = {
    **dict.fromkeys(("CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil"), _CLIP),
    "CLIPFeatureExtractor": _CLIP,
    "VideoLlavaImageProcessor": _CLIP,
    **dict.fromkeys(("LlavaImageProcessor", "LlavaImageProcessorFast", "LlavaImageProcessorPil"), _LLAVA),
    **dict.fromkeys(("SiglipImageProcessor", "SiglipImageProcessorFast", "SiglipImageProcessorPil"), _SIGLIP),
}
SUPPORTED = tuple(_PROCESSORS)


class SettingsError(BundleError):
    """Settings that describe no square, or another than the vision tower reads."""


def square(config: Mapping[str, object], side: int, cell: int) -> Square:
    """The processor that ``config`` describes, for a tower that reads ``side`` pixels squared in patches of ``cell``.

    Absent keys take the processor's defaults, those of LLaVA's where no processor is named; flags that are null are
    false; unknown keys are ignored, for checkpoints carry many that have no effect. Raises :class:`SettingsError` for
    another processor family, a value that makes no sense, or pictures of another size.
    """
    kind = config.get("image_processor_type") or config.get("feature_extractor_type") or "LlavaImageProcessor"
    if not isinstance(kind, str) or kind not in SUPPORTED:
        raise _bad("image_processor_type", kind, f"one of {', '.join(SUPPORTED)}")
    defaults = _PROCESSORS[kind]
    if _flag(config, "do_pad", False):
        if defaults.pads:
            raise _bad("do_pad", True, f"false: that {kind} pads pictures to squares is not supported")
        if config.get("pad_size") is not None:  # without it a picture alone is padded to its own size
            raise _bad("pad_size", config["pad_size"], "none, or do_pad false: padding is not supported")
    _flag(config, "do_convert_rgb", True)  # a runtime gives RGB, so that either is the same
    edge, longest, size = _size(config, defaults) if _flag(config, "do_resize", True) else (None, None, None)
    crop = _crop(config.get("crop_size")) if _flag(config, "do_center_crop", defaults.center_crop) else None
    made = crop or size
    if made is None:
        raise _bad("do_center_crop", False, "true, for pictures of every shape become squares by it")
    if made != (side, side):
        raise SettingsError(
            f"preprocessor_config.json: it makes pictures of {made[1]}x{made[0]} pixels, but the vision tower takes "
            f"{side}x{side}"
        )
    values = pixels(config, defaults.mean, defaults.std)
    return Square(
        side=side,
        cell=cell,
        shortest_edge=edge,
        longest_edge=longest,
        size=size,
        resample=values.resample,
        rescale=values.rescale,
        mean=values.mean,
        std=values.std,
    )


class Pixels(NamedTuple):
    """What is done to values, whatever the shape of a picture; see :class:`Square`."""

    resample: str
    rescale: float
    mean: Channels
    std: Channels


def pixels(config: Mapping[str, object], mean: Channels, std: Channels, resample: str = "bicubic") -> Pixels:
    """What ``config`` does to values, ``mean``, ``std`` and ``resample`` being the processor's defaults. Raises
    :class:`SettingsError`."""
    normalize = _flag(config, "do_normalize", True)
    return Pixels(
        resample if config.get("resample") is None else _resample(config["resample"]),
        _number(config, "rescale_factor", 1 / 255) if _flag(config, "do_rescale", True) else 1.0,
        _channels(config, "image_mean", mean) if normalize else (0.0, 0.0, 0.0),
        _channels(config, "image_std", std) if normalize else (1.0, 1.0, 1.0),
    )


def _bad(key: str, value: object, expected: str) -> SettingsError:
    return SettingsError(f"preprocessor_config.json: {key} is {repr(value)[:_MOST]}; expected {expected}")


def _flag(config: Mapping[str, object], key: str, default: bool) -> bool:
    value = config.get(key, default)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise _bad(key, value, "true or false")
    return value


def _number(config: Mapping[str, object], key: str, default: float) -> float:
    value = config.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= MAX_VALUE:
        raise _bad(key, value, f"a positive number, up to {MAX_VALUE:g}")
    return float(value)


def _side(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SIDE:
        raise _bad(key, value, f"whole pixels, 1 to {MAX_SIDE}")
    return value


def _size(config: Mapping[str, object], defaults: _Defaults) -> tuple[int | None, int | None, tuple[int, int] | None]:
    """Shortest edge and perhaps longest edge, or else (height, width)."""
    value = config.get("size")
    if config.get("use_square_size"):
        return None, None, (224, 224)
    if value is None:
        return defaults.shortest_edge, None, defaults.size
    if isinstance(value, Mapping):
        if set(value) in ({"shortest_edge"}, {"shortest_edge", "longest_edge"}):
            edges = {key: _side(f"size.{key}", edge) for key, edge in value.items()}
            return edges["shortest_edge"], edges.get("longest_edge"), None
        if set(value) == {"height", "width"}:
            return None, None, (_side("size.height", value["height"]), _side("size.width", value["width"]))
        raise _bad("size", value, "shortest_edge, perhaps with longest_edge, or height and width")
    if isinstance(value, list):
        return None, None, _pair("size", value)
    side = _side("size", value)
    return (None, None, (side, side)) if config.get("default_to_square") else (side, None, None)


def _pair(key: str, value: list[object]) -> tuple[int, int]:
    if len(value) != 2:
        raise _bad(key, value, "height and width")
    return _side(f"{key}[0]", value[0]), _side(f"{key}[1]", value[1])


def _crop(value: object) -> tuple[int, int]:
    if value is None:
        return 224, 224
    if isinstance(value, list):
        return _pair("crop_size", value)
    if isinstance(value, Mapping):
        if set(value) != {"height", "width"}:
            raise _bad("crop_size", value, "a number, or height and width")
        return _side("crop_size.height", value["height"]), _side("crop_size.width", value["width"])
    side = _side("crop_size", value)
    return side, side


def _resample(value: object) -> str:
    if isinstance(value, str):
        tell(
            f"preprocessor_config.json: resample is the name {value[:20]!a}, which is read as {_OTHERWISE}, as by the "
            f"Pillow backend of transformers, which knows numbers alone; for bicubic write {_BICUBIC}"
        )
        return _OTHERWISE
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(RESAMPLINGS):
        raise _bad("resample", value, f"one of Pillow's filters {list(range(len(RESAMPLINGS)))}")
    return RESAMPLINGS[value]


def _channels(config: Mapping[str, object], key: str, default: Channels) -> Channels:
    value = config.get(key)
    if value is None:
        return default
    items: list[object] = list(value) if isinstance(value, (list, tuple)) else [value] * 3
    numbers = [
        float(x)
        for x in items
        if isinstance(x, (int, float)) and not isinstance(x, bool) and -MAX_VALUE <= x <= MAX_VALUE
    ]
    if len(items) != 3 or len(numbers) != 3 or (key == "image_std" and min(numbers) <= 0):
        raise _bad(key, value, f"three {'' if key == 'image_mean' else 'positive '}numbers, up to {MAX_VALUE:g}")
    return numbers[0], numbers[1], numbers[2]
