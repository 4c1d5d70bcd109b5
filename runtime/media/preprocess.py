"""Pixels as the checkpoint's vision tower was trained to see them: CLIP's image processor in Pillow.

Same operations, order and rounding as ``transformers``' Pillow-backed ``CLIPImageProcessor``: convert to RGB
(blending transparency onto white), resize in uint8, crop the centre (padding with zeros what is too small),
rescale in float64 and round to float32, normalise in float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clasp_trt.errors import BundleError, ImageError

SUPPORTED = ("CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil", "CLIPFeatureExtractor")
MAX_RESIZED_PIXELS = 16 * 2**20
"""A resized image above this area (50 MB of RGB) is never made whole: only what the crop keeps is resized."""

_MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's own, the defaults of its processor
_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocessor:
    """CLIP preprocessing. Fields carry the meaning that they have in ``preprocessor_config.json``.

    Attributes:
        shortest_edge: the resized image's short side in pixels, or None when `resized` is given or nothing is
            resized.
        resized: (height, width) to resize to without regard to aspect, or None.
        resample: a Pillow resampling filter.
        crop: (height, width) of the centre crop, or None.
        rescale: factor applied to 0..255 values, or None.
        mean, std: per channel, or None for no normalisation.
        convert_rgb: whether images of other modes are converted; if not, they are refused.
    """

    shortest_edge: int | None
    resized: tuple[int, int] | None
    resample: Image.Resampling
    crop: tuple[int, int] | None
    rescale: float | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    convert_rgb: bool = True

    @classmethod
    def from_json(cls, config: Mapping[str, object]) -> Preprocessor:
        """From a parsed ``preprocessor_config.json``; absent or null keys take CLIP's defaults, unknown keys
        are ignored (checkpoints carry many that have no effect).

        Raises:
            BundleError: another processor family, or a value that makes no sense.
        """
        kind = config.get("image_processor_type") or config.get("feature_extractor_type") or "CLIPImageProcessor"
        if kind not in SUPPORTED:
            raise _bad("image_processor_type", kind, f"one of {', '.join(SUPPORTED)}")
        if _flag(config, "do_pad", False):
            raise _bad("do_pad", True, "false: padding is not part of CLIP's processor")
        edge: int | None = None
        resized: tuple[int, int] | None = None
        if _flag(config, "do_resize", True):
            edge, resized = _size(config.get("size"))
        crop = _crop(config.get("crop_size")) if _flag(config, "do_center_crop", True) else None
        rescale = _number(config, "rescale_factor", 1 / 255) if _flag(config, "do_rescale", True) else None
        normalize = _flag(config, "do_normalize", True)
        return cls(
            shortest_edge=edge,
            resized=resized,
            resample=_resample(config.get("resample")),
            crop=crop,
            rescale=rescale,
            mean=_channels(config, "image_mean", _MEAN) if normalize else None,
            std=_channels(config, "image_std", _STD) if normalize else None,
            convert_rgb=_flag(config, "do_convert_rgb", True),
        )

    def __call__(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Preprocess `images`, which may have different sizes and modes.

        Returns:
            float32 ``[batch, 3, height, width]``, contiguous.

        Raises:
            ImageError: no image, or one that is not RGB when `convert_rgb` is off, or results of different
                sizes, or a resized image too large to make without a crop.
        """
        if not images:
            raise ImageError("no image to preprocess; give at least one")
        pixels = [self._pixels(image) for image in images]
        shapes = {array.shape for array in pixels}
        if len(shapes) > 1:
            raise ImageError(
                "images of different sizes cannot form one batch without a centre crop; give one at a time"
            )
        return np.stack([self._scale(array) for array in pixels])

    def view(self, image: Image.Image) -> Image.Image:
        """The part of `image` that the model sees, at the size at which it sees it: RGB, before rescaling."""
        return Image.fromarray(self._pixels(image))

    def _pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """uint8 ``[height, width, 3]``: converted, resized, cropped."""
        image = _to_rgb(image) if self.convert_rgb else image
        if image.mode != "RGB":
            raise ImageError(f"an image of mode {image.mode} needs do_convert_rgb; convert it to RGB first")
        height, width = self._resized_size(image.width, image.height)
        if self.crop is None:
            if height * width > MAX_RESIZED_PIXELS:
                raise ImageError(f"a {image.width}x{image.height} image would become {width}x{height} pixels; crop it")
            return np.asarray(self._resize(image, width, height))
        rows, columns = _window(height, self.crop[0]), _window(width, self.crop[1])
        if height * width > MAX_RESIZED_PIXELS:
            kept = self._resize_part(image, (width, height), columns.kept, rows.kept)
        else:
            kept = np.asarray(self._resize(image, width, height))[rows.kept, columns.kept]
        canvas = np.zeros((*self.crop, 3), np.uint8)
        canvas[rows.placed, columns.placed] = kept
        return canvas

    def _resized_size(self, width: int, height: int) -> tuple[int, int]:
        """(height, width) after resizing; the long side is rounded down, as CLIP's processor does."""
        if self.resized is not None:
            return self.resized
        if self.shortest_edge is None:
            return height, width
        edge = self.shortest_edge
        return (int(edge * height / width), edge) if width <= height else (edge, int(edge * width / height))

    def _resize(self, image: Image.Image, width: int, height: int) -> Image.Image:
        if self.shortest_edge is None and self.resized is None:
            return image
        return image.resize((width, height), resample=self.resample)

    def _resize_part(self, image: Image.Image, size: tuple[int, int], columns: slice, rows: slice) -> NDArray[np.uint8]:
        """The part ``[rows, columns]`` of `image` resized to `size` (width, height), without making the rest.

        Pillow filters across the edges of `box`, so this is the same arithmetic; its coordinates are single
        precision, which may move a value by 1.
        """
        if self.shortest_edge is None and self.resized is None:
            part = image.crop((columns.start, rows.start, columns.stop, rows.stop))
        else:
            across, down = image.width / size[0], image.height / size[1]
            box = (columns.start * across, rows.start * down, columns.stop * across, rows.stop * down)
            shape = (columns.stop - columns.start, rows.stop - rows.start)
            part = image.resize(shape, resample=self.resample, box=box)
        return np.asarray(part)

    def _scale(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32 ``[3, height, width]`` from uint8 ``[height, width, 3]``."""
        scale = 1.0 if self.rescale is None else self.rescale
        values = (pixels.astype(np.float64) * scale).astype(np.float32)
        if self.mean is not None and self.std is not None:
            values -= np.asarray(self.mean, np.float32)
            values /= np.asarray(self.std, np.float32)
        return np.ascontiguousarray(values.transpose(2, 0, 1))


@dataclass(frozen=True)
class _Window:
    """One axis of a centre crop: `kept` of the image lands at `placed` of the result."""

    kept: slice
    placed: slice


def _window(have: int, want: int) -> _Window:
    if have >= want:
        start = (have - want) // 2
        return _Window(slice(start, start + want), slice(0, want))
    start = math.ceil((want - have) / 2)  # the odd zero goes before the image, as in transformers
    return _Window(slice(0, have), slice(start, start + have))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _bad(key: str, value: object, expected: str) -> BundleError:
    return BundleError(f"preprocessor_config.json: {key} is {value!r}; expected {expected}")


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
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
        raise _bad(key, value, "a positive number")
    return float(value)


def _side(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4096:
        raise _bad(key, value, "whole pixels, 1 to 4096")
    return value


def _size(value: object) -> tuple[int | None, tuple[int, int] | None]:
    """(shortest_edge, None) or (None, (height, width))."""
    if value is None:
        return 224, None
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


def _resample(value: object) -> Image.Resampling:
    if value is None:
        return Image.Resampling.BICUBIC
    legal = [int(member) for member in Image.Resampling]
    if isinstance(value, bool) or not isinstance(value, int) or value not in legal:
        raise _bad("resample", value, f"one of Pillow's filters {legal}")
    return Image.Resampling(value)


def _channels(config: Mapping[str, object], key: str, default: tuple[float, ...]) -> tuple[float, ...]:
    value = config.get(key)
    if value is None:
        return default
    items: list[object] = list(value) if isinstance(value, (list, tuple)) else [value] * 3
    numbers = [float(x) for x in items if isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x)]
    if len(items) != 3 or len(numbers) != 3 or (key == "image_std" and min(numbers) <= 0):
        raise _bad(key, value, "three numbers" if key == "image_mean" else "three positive numbers")
    return tuple(numbers)
