"""An image from wherever the user has it, upright and RGB, or one line saying why not."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Collection
from pathlib import Path
from typing import IO

from PIL import Image

from clasp_trt.brief import clipped
from clasp_trt.errors import ImageError
from clasp_trt.runtime.media.decoding import MOST_PIXELS, decode, upright_rgb
from clasp_trt.runtime.media.fetch import fetch
from clasp_trt.runtime.media.texts import DATA, check_length, from_base64, from_data_url
from clasp_trt.runtime.media.urls import redacted

ImageSource = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image
"""A file, an http(s) or data URL, base64, encoded bytes, an open file, or a Pillow image."""

SOURCES = ("files", "urls", "data")
"""What a string or path may be: paths, pipes and ``-``; http(s) URLs; data URLs and base64 text."""
MAX_BYTES = 64 * 2**20
"""Largest encoded image taken from a URL, a pipe, base64 text or bytes. Files are bounded by their pixels alone."""
MAX_PIXELS = 50_000_000
"""Largest image decoded unless more is asked for, width times height: 50 megapixels are 200 MB of memory, and decoding
takes several times that."""
TIMEOUT_S = 20.0
_MOST_PATH = 4096
_TAKEN = {"files": "a file", "urls": "an http(s) URL", "data": "a data: URL or base64 text"}
_STDIN = "-"


def load_image(
    source: ImageSource, *, sources: Collection[str] = SOURCES, max_pixels: int | None = None
) -> Image.Image:
    """Read one image.

    Pixels are those of ``transformers.image_utils.load_image``: EXIF orientation applied, then Pillow's
    ``convert("RGB")`` (which drops an alpha channel rather than blending it). Three things differ: an orientation that
    cannot be read is ignored, samples of more than 8 bits are scaled by their own range instead of being cut off, and a
    JPEG of more than ``max_pixels`` is decoded at a half, a quarter or an eighth of its size.

    Args:
        source: a path, ``-`` for standard input, an ``http(s)://`` URL, a ``data:`` URL, bare base64 text, the encoded
            bytes, an open binary file, or a Pillow image. A string is taken as the first of these that it can be.
        sources: which of :data:`SOURCES` a string or path may be. URLs are fetched from here, internal hosts included,
            and files are read with this process's rights: for strings of strangers, ``("data",)``. Bytes, open files
            and Pillow images are in the caller's hands already and always taken.
        max_pixels: largest width times height, up to 178 million (None: :data:`MAX_PIXELS`). A Pillow image has its
            memory already and may always have 178 million.

    Returns:
        A new image of mode RGB, upright, each side at least 2 px and at most 200 times the other. Of an
        animation or a multi-page file, the first frame.

    Raises:
        ImageError: the source cannot be read within 20 seconds (URLs), is not allowed by ``sources``, is not an image
            in one of the common raster formats, is truncated, or is too large (64 MiB encoded, ``max_pixels``), too
            small or too elongated.
        ShortageError: it takes more memory than this process may have.
    """
    max_pixels = MAX_PIXELS if max_pixels is None else max_pixels
    if type(max_pixels) is not int or not 1 <= max_pixels <= MOST_PIXELS:
        raise ImageError(f"max_pixels is {max_pixels!r}; expected a whole number from 1 to {MOST_PIXELS}")
    _check(sources)
    if isinstance(source, Image.Image):
        return upright_rgb(source, "the image given", MOST_PIXELS)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return decode(_bounded(source, "the data given"), "the data given", max_pixels)
    if isinstance(source, os.PathLike):
        _allow("files", sources, "a path")
        return _open_file(Path(os.fsdecode(source)), max_pixels)
    if isinstance(source, str):
        return _from_text(source, sources, max_pixels)
    if hasattr(source, "read"):
        return _from_stream(source, "the file given", max_pixels)
    raise ImageError(
        f"an image is a path, URL, base64 text, bytes, open file or Pillow image, not {type(source).__name__}"
    )


def _from_text(text: str, sources: Collection[str], max_pixels: int) -> Image.Image:
    check_length(text, MAX_BYTES, "the text given")
    text = text.strip()
    if not text:
        raise ImageError("the image's name is empty; give a file, an http(s) or data URL, or base64 text")
    start = text[:8].lower()
    if start.startswith(("http://", "https://")):
        _allow("urls", sources, "an http(s) URL")
        return decode(fetch(text, MAX_BYTES, TIMEOUT_S), redacted(text), max_pixels)
    if "files" in sources and text == _STDIN:
        return _from_stdin(max_pixels)
    if "files" in sources and len(text) <= _MOST_PATH and os.path.exists(text):
        return _open_file(Path(text), max_pixels)
    if start.startswith(DATA):
        _allow("data", sources, "a data: URL")
        return decode(from_data_url(text, MAX_BYTES), "the data: URL", max_pixels)
    # a string that names nothing: base64, or a mistake; short ones are most likely a mistyped path
    if Path(text[:_MOST_PATH]).suffix or len(text) < 64 or "\0" in text:
        _allow("files", sources, redacted(text))
        raise ImageError(f"there is no file {redacted(text)}; give a file, an http(s):// or data: URL, or base64 text")
    _allow("data", sources, "base64 text")
    return decode(from_base64(text, MAX_BYTES, "the text given"), "the base64 text", max_pixels)


def _check(sources: Collection[str]) -> None:
    for name in [sources] if isinstance(sources, str) else sources:
        if name not in SOURCES or name == sources:
            raise ImageError(f"sources: {name!r} is none; expected some of {', '.join(SOURCES)}, such as ('data',)")


def _allow(kind: str, sources: Collection[str], what: str) -> None:
    if kind not in sources:
        taken = " or ".join(_TAKEN[name] for name in sources)
        raise ImageError(f"{what} is not taken here; expected {taken or 'the bytes of an image'}")


def _open_file(path: Path, max_pixels: int) -> Image.Image:
    name = clipped(str(path))
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(f"{name} is a folder; give one image file")
        with path.open("rb") as file:
            return decode(file, name, max_pixels) if stat.S_ISREG(mode) else _to_its_end(file, name, max_pixels)
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError(f"there is no image file {name}") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        raise ImageError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from error


def _from_stdin(max_pixels: int) -> Image.Image:
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None or sys.stdin.isatty():
        raise ImageError("- is standard input, to which no image is piped; write clasp-trt ... --image - < photo.jpg")
    return _from_stream(stream, "standard input", max_pixels)


def _from_stream(stream: IO[bytes], what: str, max_pixels: int) -> Image.Image:
    """What an open file holds: all of it if it can be wound back, else what is still to come."""
    try:
        nothing: object = stream.read(0)
        if isinstance(nothing, str):
            raise ImageError(f"{what} is open as text, expected bytes; open it with 'rb'")
        if hasattr(stream, "seekable") and stream.seekable():
            return decode(stream, what, max_pixels)
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot read {what}: {getattr(error, 'strerror', None) or error}") from error
    return _to_its_end(stream, what, max_pixels)


def _to_its_end(stream: IO[bytes], what: str, max_pixels: int) -> Image.Image:
    """A pipe or device: what comes until it ends, within the bound of encoded images."""
    pieces, size = list[bytes](), 0
    try:
        while piece := stream.read(1 << 20):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_BYTES:
                raise _over(what)
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot read {what}: {getattr(error, 'strerror', None) or error}") from error
    return decode(b"".join(pieces), what, max_pixels)


def _bounded(data: bytes | bytearray | memoryview, what: str) -> bytes:
    if memoryview(data).nbytes > MAX_BYTES:
        raise _over(what)
    return bytes(data)


def _over(what: str) -> ImageError:
    return ImageError(f"{what} is over {MAX_BYTES >> 20} MiB; give a smaller image")
