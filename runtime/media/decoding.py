"""Encoded pictures as upright RGB pixels, in bounded memory; what is damaged is told from what is too large."""

from __future__ import annotations

import io
import warnings
from contextlib import suppress
from importlib import import_module
from typing import IO, Any

import numpy as np
from PIL import ExifTags, Image, TiffTags

from clasp_trt.errors import ImageError, ShortageError
from clasp_trt.runtime.media import heif, icons
from clasp_trt.shortage import is_shortage, shortage

MOST_PIXELS = 178_000_000
"""Largest image that can be asked for, width times height: just under Pillow's own refusal at 2**31 / 12."""
MIN_SIDE = 2
MAX_ASPECT = 200
"""Smallest side in pixels and largest long side / short side, as Qwen-VL's own processor demands."""

# Raster formats only. Pillow would hand EPS to Ghostscript and WMF to the system: not for a stranger's file.
_PLUGINS = {
    **{"JPEG": "Jpeg", "PNG": "Png", "WEBP": "WebP", "MPO": "Mpo", "GIF": "Gif", "BMP": "Bmp", "TIFF": "Tiff"},
    **{"PPM": "Ppm", "JPEG2000": "Jpeg2K", "ICO": "Ico", "AVIF": "Avif"},
}
"""Formats of Pillow's own, and what its module for each begins with."""
_FORMATS = (*_PLUGINS, "HEIF")
_REDUCTIONS = (2, 4, 8)  # by which a JPEG can be decoded smaller
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # of TIFF
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ROWS = 256  # of samples scaled at a time


def decode(data: bytes | IO[bytes], what: str, max_pixels: int) -> Image.Image:
    """The picture in ``data``, which errors call ``what``, as a new RGB image. Raises :class:`ImageError`, or
    :class:`~clasp_trt.errors.ShortageError` if there is not the memory for it."""
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    for plugin in _PLUGINS.values():  # to register all of Pillow's would take longer than to read a picture
        with suppress(ImportError):  # a build of it may lack some of ours
            import_module(f"PIL.{plugin}ImagePlugin")
    heif.register_for(file)
    formats = [name for name in _FORMATS if name in Image.OPEN]
    for size in icons.sizes(file):  # Pillow decodes an icon where others open
        _check_pixels(*size, what, max_pixels)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own bound replaces Pillow's warning; metadata gossip is not for users
            image = Image.open(file, formats=formats)
    except Image.DecompressionBombError as error:
        raise ImageError(f"{what} has over {MOST_PIXELS // 10**6} megapixels; shrink it first") from error
    except MemoryError as error:
        raise shortage(f"to open {what}", error) from error
    except Exception as error:  # Pillow's plugins raise nearly every kind of error on a malformed file
        raise ImageError(f"{what} is {heif.missing(file) or _unknown(formats)}") from error
    with image:
        _reduce(image, max_pixels)
        return upright_rgb(image, what, max_pixels)


def upright_rgb(image: Image.Image, what: str, max_pixels: int) -> Image.Image:
    """A new image of mode RGB, turned as its EXIF orientation says if that can be read. Raises :class:`ImageError`."""
    _check_size(*image.size, what, max_pixels)
    _load(image, what, max_pixels)
    try:
        made = image if image.mode != "F" and not image.mode.startswith("I") else _eight_bits(image, what)
        turn = _UPRIGHT.get(_orientation(image))
        return (made if turn is None else made.transpose(turn)).convert("RGB")
    except MemoryError as error:
        raise _shortage(image, what) from error
    except ValueError as error:
        raise ImageError(
            f"{what} has pixels of mode {image.mode}, which cannot become RGB; convert it first"
        ) from error


def _unknown(formats: list[str]) -> str:
    return f"not an image we can read ({', '.join(formats).lower()})"


def _reduce(image: Image.Image, max_pixels: int) -> None:
    """Has a JPEG that is too large decoded smaller; not a progressive one, all of whose coefficients are kept."""
    width, height = image.size
    if image.format not in ("JPEG", "MPO") or width * height <= max_pixels or image.info.get("progressive"):
        return
    for by in _REDUCTIONS:
        if -(-width // by) * -(-height // by) <= max_pixels:
            image.draft(None, (width // by, height // by))  # no mode: it stays
            return


def _check_size(width: int, height: int, what: str, max_pixels: int) -> None:
    """From the header: nothing is decoded yet."""
    _check_pixels(width, height, what, max_pixels)
    short, long = sorted((width, height))
    if short < MIN_SIDE:
        raise ImageError(f"{what} is {width}x{height}; each side must be at least {MIN_SIDE} pixels")
    if long > MAX_ASPECT * short:
        raise ImageError(f"{what} is {width}x{height}; one side may be at most {MAX_ASPECT} times the other; crop it")


def _check_pixels(width: int, height: int, what: str, max_pixels: int) -> None:
    if width * height > max_pixels:
        more = "" if max_pixels == MOST_PIXELS else f", or allow more with max_pixels (up to {MOST_PIXELS})"
        raise ImageError(
            f"{what} has {width}x{height} pixels, over {max_pixels / 10**6:g} megapixels; shrink it first{more}"
        )


def _load(image: Image.Image, what: str, max_pixels: int) -> None:
    """Decodes, within the bounds that a header can hide."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if image.format == "TIFF":
                _check_pixels(*_tile_size(image), what, max_pixels)
                _forget_broken_groups(image)
            image.load()
    except ImageError:
        raise
    except MemoryError as error:
        raise _shortage(image, what) from error
    except Exception as error:  # as in decode: a file that breaks off raises whatever its plugin stumbles over
        if is_shortage(error) or "out of memory" in str(error) or not _available(_needed(image)):
            raise _shortage(image, what) from error
        raise ImageError(f"{what} is damaged or truncated: {error}") from error


def _tile_size(image: Any) -> tuple[int, int]:
    """What is decoded at once of a TIFF, which may be larger than the picture."""
    tile = image.tag_v2.get(_TILE_WIDTH), image.tag_v2.get(_TILE_LENGTH)
    return tile if all(isinstance(side, int) for side in tile) else image.size


def _forget_broken_groups(image: Image.Image) -> None:
    """Pillow reads all groups of tags of a TIFF before it gives the pixels; those that cannot be read are left out."""
    exif = image.getexif()
    for group in TiffTags.TAGS_V2_GROUPS:
        try:
            if group in exif:
                exif.get_ifd(group)
        except Exception:  # as malformed as any metadata
            del exif[group]


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 if there is none or it cannot be read: a broken block of metadata harms no pixel."""
    with suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = image.getexif().get(ExifTags.Base.Orientation)
        return found if isinstance(found, int) else 1
    return 1


def _eight_bits(image: Image.Image, what: str) -> Image.Image:
    """Samples of more than 8 bits, or floating ones, from their own least to their own greatest value on 0 to 255.

    Equal ones become grey. NaN is taken for the least; infinities are ends of the range.
    """
    samples = np.asarray(image)
    finite = samples[np.isfinite(samples)] if samples.dtype.kind == "f" else samples
    if not finite.size:
        raise ImageError(f"{what} has no pixel that is a number; expected finite samples")
    low, high = float(finite.min()), float(finite.max())
    del finite
    made = np.full(samples.shape, 128, np.uint8)
    for first in range(0, len(samples) if high > low else 0, _ROWS):
        rows = samples[first : first + _ROWS].astype(np.float64)
        rows = np.clip(np.nan_to_num((rows - low) / (high - low), nan=0.0, posinf=1.0, neginf=0.0), 0, 1)
        made[first : first + _ROWS] = np.rint(rows * 255)
    return Image.fromarray(made)


def _needed(image: Image.Image) -> int:
    """Bytes of the decoded picture and its RGB copy."""
    return 8 * image.width * image.height


def _available(size: int) -> bool:
    try:
        bytearray(size)
    except MemoryError:
        return False
    return True


def _shortage(image: Image.Image, what: str) -> ShortageError:
    return shortage(f"to decode {what} of {image.width}x{image.height} pixels", needed=_needed(image))
