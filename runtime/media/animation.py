"""Animations that Pillow reads: GIF, WebP, APNG and AVIF."""

from __future__ import annotations

import io
import warnings
from typing import IO

from PIL import Image, UnidentifiedImageError

from clasp_trt.errors import ClaspError, ImageError
from clasp_trt.runtime.media.decoding import upright_rgb
from clasp_trt.runtime.media.sampling import Budget

Decoded = tuple[list[tuple[Image.Image, float]], float]
"""Pictures and their seconds, and how long the whole lasts."""
_FORMATS = ("GIF", "WEBP", "PNG", "AVIF")
_STILL = ("JPEG", "BMP", "TIFF", "PPM", "JPEG2000", "ICO")
_UNSAID_MS = 100  # how long browsers show a frame that says nothing, or 0
_MOST = 20_000


def animation(data: bytes | IO[bytes], budget: Budget) -> Decoded | None:
    """The frames of an animation; None of what is none of these formats. Raises :class:`ImageError` for a picture that
    does not move, a damaged file, and what is over the budget."""
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    Image.init()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(file, formats=[name for name in (*_FORMATS, *_STILL) if name in Image.OPEN])
    except (UnidentifiedImageError, TypeError):
        file.seek(0)
        return None
    except Exception as error:  # Pillow's plugins raise nearly every kind of error on a malformed file
        raise ImageError(f"{budget.name} is damaged or too large: {error}") from error
    with image:
        try:
            return _frames(image, budget)
        except ClaspError:
            raise
        except Exception as error:
            raise ImageError(f"{budget.name} is damaged or truncated: {error}") from error


def _frames(image: Image.Image, budget: Budget) -> Decoded:
    there = getattr(image, "n_frames", 1)
    if there == 1 and image.format != "GIF":
        raise ImageError(f"{budget.name} is a picture that does not move; give it with --image, or a clip")
    if there > _MOST:
        raise ImageError(f"{budget.name} has {there} frames; at most {_MOST}")
    starts = [0.0]
    for number in range(there):
        starts.append(starts[-1] + _milliseconds(image, number) / 1e3)
        budget.check_time()
    found = list[tuple[Image.Image, float]]()
    for number in budget.sampling.numbers(there, starts[-1]):
        image.seek(number)
        found.append((upright_rgb(image, budget.name, budget.max_pixels), starts[number]))
        budget.count(*image.size)
    return found, starts[-1]


def _milliseconds(image: Image.Image, number: int) -> float:
    image.seek(number)
    image.load()  # of a WebP, only this tells how long it is shown
    return image.info.get("duration") or _UNSAID_MS
