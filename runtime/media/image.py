"""An image from wherever the user has it, upright and RGB, or one line saying why not.

Pixels are those of ``transformers.image_utils.load_image``: EXIF orientation applied, then Pillow's
``convert("RGB")`` (which drops an alpha channel rather than blending it). What differs is what is refused:
see :func:`load_image`.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import io
import os
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path
from typing import IO

from PIL import Image, ImageOps

from clasp_trt.brief import clipped
from clasp_trt.errors import ImageError

MAX_BYTES = 64 * 2**20
"""Largest encoded image taken from a URL, base64 text or bytes. Files are bounded by their pixels alone."""
MAX_PIXELS = 178_000_000
"""Largest image decoded, width times height: just under Pillow's own refusal at 2**31 / 12."""
MIN_SIDE = 2
MAX_ASPECT = 200
"""Smallest side in pixels and largest long side / short side, as Qwen-VL's own processor demands."""
TIMEOUT_S = 20.0

# Raster formats only. Pillow would hand EPS to Ghostscript and WMF to the system: not for a stranger's file.
_FORMATS = ("JPEG", "PNG", "WEBP", "MPO", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "ICO", "AVIF")


def load_image(source: str | os.PathLike[str] | bytes | Image.Image) -> Image.Image:
    """Read one image.

    Args:
        source: a path, an ``http(s)://`` URL, a ``data:`` URL, bare base64 text, the encoded bytes, or a
            Pillow image. A string is taken as the first of these that it can be, in this order. URLs are
            fetched from here, internal hosts included: a service must not pass on a stranger's URL.

    Returns:
        A new image of mode RGB, upright, each side at least 2 px and at most 200 times the other. Of an
        animation or a multi-page file, the first frame.

    Raises:
        ImageError: the source cannot be read, is not an image in one of the common raster formats, is
            truncated, or is too large (64 MiB encoded, 178 megapixels), too small or too elongated.
    """
    if isinstance(source, Image.Image):
        return _upright_rgb(source, "the image given")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(_bounded(bytes(source), "the data given"), "the data given")
    if isinstance(source, os.PathLike):
        return _open_file(Path(source))
    if not isinstance(source, str):
        raise ImageError(f"an image is a path, URL, base64 text, bytes or Pillow image, not {type(source).__name__}")
    if not source.strip():
        raise ImageError("the image's name is empty; give a file, an http(s) or data URL, or base64 text")
    if source.lower().startswith(("http://", "https://")):
        return _decode(_fetch(source), clipped(source))
    if os.path.exists(source):
        return _open_file(Path(source))
    if source.startswith("data:"):
        return _decode(_data_url(source), "the data: URL")
    return _decode_text(source)


def _open_file(path: Path) -> Image.Image:
    if path.is_dir():
        raise ImageError(f"{path} is a folder; give one image file")
    if not path.is_file():
        raise ImageError(f"no image file at {clipped(str(path))}")
    try:
        with path.open("rb") as file:
            return _decode(file, clipped(str(path)))
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or error}") from error


def _decode_text(text: str) -> Image.Image:
    """A string that names nothing: base64, or a mistake. Short ones are most likely a mistyped path."""
    if Path(text[:4096]).suffix or len(text) < 64 or "\0" in text:
        raise ImageError(f"there is no file {clipped(text)}; give a file, an http(s):// or data: URL, or base64 text")
    return _decode(_from_base64(text, "the text given"), "the base64 text")


def _data_url(url: str) -> bytes:
    head, comma, body = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise ImageError(f"{clipped(url)}: a data: URL must read data:image/...;base64,...")
    return _from_base64(body, "the data: URL")


def _from_base64(text: str, what: str) -> bytes:
    if len(text) > MAX_BYTES * 3 // 2:  # base64 is 4/3 of the bytes, plus line ends
        raise ImageError(f"{what} is over {MAX_BYTES >> 20} MiB; give a smaller image")
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"{what} is neither an image file nor valid base64: {clipped(text)}") from error
    return _bounded(data, what)


def _bounded(data: bytes, what: str) -> bytes:
    if len(data) > MAX_BYTES:
        raise ImageError(f"{what} is over {MAX_BYTES >> 20} MiB; give a smaller image")
    return data


def _opener() -> urllib.request.OpenerDirector:
    """An opener that speaks http and https only, so that a redirect cannot reach file: or ftp:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _fetch(url: str) -> bytes:
    """GET `url`, at most MAX_BYTES, each wait and the whole body at most TIMEOUT_S."""
    deadline = time.monotonic() + TIMEOUT_S
    data = bytearray()
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "clasp-trt", "Accept": "image/*"})
        with _opener().open(request, timeout=TIMEOUT_S) as response:
            while chunk := response.read1(1 << 16):  # read1: one receive, so that a dripping server meets the deadline
                data += chunk
                if len(data) > MAX_BYTES:
                    raise ImageError(f"{clipped(url)} is over {MAX_BYTES >> 20} MiB; download and shrink it first")
                if time.monotonic() > deadline:
                    raise ImageError(f"{clipped(url)} took over {TIMEOUT_S:.0f} s; download it first")
            if response.length:
                raise ImageError(f"{clipped(url)} ended {response.length} bytes early; try again")
    except urllib.error.HTTPError as error:
        error.close()
        raise ImageError(f"{clipped(url)} answered {error.code} {error.reason}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise ImageError(f"cannot fetch {clipped(url)}: {reason}") from error
    return bytes(data)


def _decode(data: bytes | IO[bytes], what: str) -> Image.Image:
    Image.init()  # registers every plugin; a build of Pillow may lack some of ours
    formats = [name for name in _FORMATS if name in Image.OPEN]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own bound replaces Pillow's warning; metadata gossip is not for users
            image = Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=formats)
    except Image.DecompressionBombError as error:
        raise ImageError(f"{what} has over {MAX_PIXELS // 10**6} megapixels; shrink it first") from error
    except Exception as error:  # Pillow's plugins raise nearly every kind of error on a malformed file
        raise ImageError(f"{what} is not an image we can read ({', '.join(formats).lower()})") from error
    with image:
        return _upright_rgb(image, what)


def _upright_rgb(image: Image.Image, what: str) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:  # known from the header: nothing is decoded yet
        raise ImageError(f"{what} has {width}x{height} pixels, over {MAX_PIXELS // 10**6} megapixels; shrink it first")
    short, long = sorted((width, height))
    if short < MIN_SIDE:
        raise ImageError(f"{what} is {width}x{height}; each side must be at least {MIN_SIDE} pixels")
    if long > MAX_ASPECT * short:
        raise ImageError(f"{what} is {width}x{height}; one side may be at most {MAX_ASPECT} times the other; crop it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # as in _decode: a file that breaks off raises whatever its plugin stumbles over
        raise ImageError(f"{what} is damaged or truncated: {error}") from error
