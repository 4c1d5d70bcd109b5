"""The settings of CLIP's and SigLIP's image processors, ``preprocessor_config.json``, resolved to a :class:`Square`.

Used where a checkpoint becomes a bundle, and for bundles of schema 1, which leave it to their reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clasp_trt.bundle.media import MAX_SIDE, MAX_VALUE, RESAMPLINGS, Square
from clasp_trt.errors import BundleError

_Channels = tuple[float, float, float]
_BICUBIC = RESAMPLINGS.index("bicubic")


@dataclass(frozen=True)
class _Defaults:
    """What a processor takes for settings that are absent: ``shortest_edge`` or ``size`` as in :class:`Square`."""

    shortest_edge: int | None
    size: tuple[int, int] | None
    center_crop: bool
    mean: _Channels
    std: _Channels


_CLIP = _Defaults(224, None, True, mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711))
_SIGLIP = _Defaults(None, (224, 224), False, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
_PROCESSORS = {
    **dict.fromkeys(("CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil"), _CLIP),
    "CLIPFeatureExtractor": _CLIP,
    **dict.fromkeys(("SiglipImageProcessor", "SiglipImageProcessorFast", "SiglipImageProcessorPil"), _SIGLIP),
}
SUPPORTED = tuple(_PROCESSORS)


class SettingsError(BundleError):
    """Settings that describe no square, or another than the vision tower reads."""


def square(config: Mapping[str, object], side: int, cell: int) -> Square:
    """The processor that ``config`` describes, for a tower that reads ``side`` pixels squared in patches of ``cell``.

    Absent or null keys take the processor's defaults; unknown keys are ignored, for checkpoints carry many that have no
    effect. Raises :class:`SettingsError` for another processor family, a value that makes no sense, or pictures of
    another size.
    """
    kind = config.get("image_processor_type") or config.get("feature_extractor_type") or "CLIPImageProcessor"
    if not isinstance(kind, str) or kind not in SUPPORTED:
        raise _bad("image_processor_type", kind, f"one of {', '.join(SUPPORTED)}")
    if _flag(config, "do_pad", False):
        raise _bad("do_pad", True, "false: padding is not part of these processors")
    defaults = _PROCESSORS[kind]
    _flag(config, "do_convert_rgb", True)  # a runtime gives RGB, so that either is the same
    edge: int | None = None
    size: tuple[int, int] | None = None
    if _flag(config, "do_resize", True):
        edge, size = _size(config.get("size"), defaults)
    crop = _crop(config.get("crop_size")) if _flag(config, "do_center_crop", defaults.center_crop) else None
    made = crop or size
    if made is None:
        raise _bad("do_center_crop", False, "true, for pictures of every shape become squares by it")
    if made != (side, side):
        raise SettingsError(
            f"preprocessor_config.json: it makes pictures of {made[1]}x{made[0]} pixels, but the vision tower takes "
            f"{side}x{side}"
        )
    normalize = _flag(config, "do_normalize", True)
    return Square(
        side=side,
        cell=cell,
        shortest_edge=edge,
        size=size,
        resample=_resample(config.get("resample")),
        rescale=_number(config, "rescale_factor", 1 / 255) if _flag(config, "do_rescale", True) else 1.0,
        mean=_channels(config, "image_mean", defaults.mean) if normalize else (0.0, 0.0, 0.0),
        std=_channels(config, "image_std", defaults.std) if normalize else (1.0, 1.0, 1.0),
    )


def _bad(key: str, value: object, expected: str) -> SettingsError:
    return SettingsError(f"preprocessor_config.json: {key} is {value!r}; expected {expected}")


def _flag(config: Mapping[str, object], key: str, default: bool) -> bool:
    value = config.get(key)
    if value is None:
        return default
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


def _size(value: object, defaults: _Defaults) -> tuple[int | None, tuple[int, int] | None]:
    """(shortest_edge, None) or (None, (height, width))."""
    if value is None:
        return defaults.shortest_edge, defaults.size
    if isinstance(value, Mapping):
        if set(value) == {"shortest_edge"}:
            return _side("size.shortest_edge", value["shortest_edge"]), None
        if set(value) == {"height", "width"}:
            return None, (_side("size.height", value["height"]), _side("size.width", value["width"]))
        raise _bad("size", value, "shortest_edge, or height and width")
    return _side("size", value), None


def _crop(value: object) -> tuple[int, int]:
    if value is None:
        return 224, 224
    if isinstance(value, Mapping):
        if set(value) != {"height", "width"}:
            raise _bad("crop_size", value, "a number, or height and width")
        return _side("crop_size.height", value["height"]), _side("crop_size.width", value["width"])
    side = _side("crop_size", value)
    return side, side


def _resample(value: object) -> str:
    if value is None:
        value = _BICUBIC
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(RESAMPLINGS):
        raise _bad("resample", value, f"one of Pillow's filters {list(range(len(RESAMPLINGS)))}")
    return RESAMPLINGS[value]


def _channels(config: Mapping[str, object], key: str, default: _Channels) -> _Channels:
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
