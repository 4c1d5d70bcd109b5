"""An image from wherever the user has it, upright and RGB, or one line saying why not."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO, TypeVar, cast

from PIL import Image

from clasp_trt.brief import clipped
from clasp_trt.errors import ImageError
from clasp_trt.runtime.media.decoding import MOST_PIXELS, decode, upright_rgb
from clasp_trt.runtime.media.texts import DATA, check_length, from_base64, from_data_url
from clasp_trt.runtime.media.urls import redacted

T = TypeVar("T")
Take = Callable[[bytes | IO[bytes], str], T]
"""Makes something of encoded data, or an open file, and of what errors call it."""

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
    most = bound_of(max_pixels)
    if isinstance(source, Image.Image):
        _check(sources)
        return upright_rgb(source, "the image given", MOST_PIXELS)
    return read_source(source, lambda data, name: decode(data, name, most), sources)


def bound_of(max_pixels: int | None) -> int:
    """``max_pixels``, or its default. Raises :class:`ImageError` for a number that is none."""
    most = MAX_PIXELS if max_pixels is None else max_pixels
    if type(most) is not int or not 1 <= most <= MOST_PIXELS:
        raise ImageError(f"max_pixels is {max_pixels!r}; expected a whole number from 1 to {MOST_PIXELS}")
    return most


def read_source(source: object, take: Take[T], sources: Collection[str], noun: str = "image") -> T:
    """What ``take`` makes of the contents of a path, text, bytes or open file, for which errors have a name.

    Raises :class:`ImageError` as :func:`load_image` does.
    """
    _check(sources)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return take(_bounded(source, "the data given", noun), "the data given")
    if isinstance(source, os.PathLike):
        _allow("files", sources, "a path")
        return _open_file(Path(os.fsdecode(source)), take, noun)
    if isinstance(source, str):
        return _from_text(source, take, sources, noun)
    if hasattr(source, "read"):
        return _from_stream(cast("IO[bytes]", source), "the file given", take, noun)
    a = "an" if noun[0] in "aeiou" else "a"
    raise ImageError(
        f"{a} {noun} is a path, URL, base64 text, bytes, open file or Pillow image, not {type(source).__name__}"
    )


def _from_text(text: str, take: Take[T], sources: Collection[str], noun: str) -> T:
    check_length(text, MAX_BYTES, "the text given")
    text = text.strip()
    if not text:
        raise ImageError(f"the {noun}'s name is empty; give a file, an http(s) or data URL, or base64 text")
    start = text[:8].lower()
    if start.startswith(("http://", "https://")):
        _allow("urls", sources, "an http(s) URL")
        from clasp_trt.runtime.media.fetch import fetch  # what speaks HTTP is half of all that is imported for pictures

        return take(fetch(text, MAX_BYTES, TIMEOUT_S), redacted(text))
    if "files" in sources and text == _STDIN:
        return _from_stdin(take, noun)
    if "files" in sources and len(text) <= _MOST_PATH and os.path.exists(text):
        return _open_file(Path(text), take, noun)
    if start.startswith(DATA):
        _allow("data", sources, "a data: URL")
        return take(from_data_url(text, MAX_BYTES), "the data: URL")
    # a string that names nothing: base64, or a mistake; short ones are most likely a mistyped path
    if Path(text[:_MOST_PATH]).suffix or len(text) < 64 or "\0" in text:
        _allow("files", sources, redacted(text))
        raise ImageError(f"there is no file {redacted(text)}; give a file, an http(s):// or data: URL, or base64 text")
    _allow("data", sources, "base64 text")
    return take(from_base64(text, MAX_BYTES, "the text given"), "the base64 text")


def _check(sources: Collection[str]) -> None:
    for name in [sources] if isinstance(sources, str) else sources:
        if name not in SOURCES or name == sources:
            raise ImageError(f"sources: {name!r} is none; expected some of {', '.join(SOURCES)}, such as ('data',)")


def _allow(kind: str, sources: Collection[str], what: str) -> None:
    if kind not in sources:
        taken = " or ".join(_TAKEN[name] for name in sources)
        raise ImageError(f"{what} is not taken here; expected {taken or 'the bytes of an image'}")


def _open_file(path: Path, take: Take[T], noun: str) -> T:
    name = clipped(str(path))
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(f"{name} is a folder; give one {noun} file")
        with path.open("rb") as file:
            return take(file, name) if stat.S_ISREG(mode) else _to_its_end(file, name, take, noun)
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError(f"there is no {noun} file {name}") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        raise ImageError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from error


def _from_stdin(take: Take[T], noun: str) -> T:
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None or sys.stdin.isatty():
        raise ImageError(f"- is standard input, to which no {noun} is piped; write clasp-trt ... --{noun} - < FILE")
    return _from_stream(stream, "standard input", take, noun)


def _from_stream(stream: IO[bytes], what: str, take: Take[T], noun: str) -> T:
    """What an open file holds: all of it if it can be wound back, else what is still to come."""
    try:
        nothing: object = stream.read(0)
        if isinstance(nothing, str):
            raise ImageError(f"{what} is open as text, expected bytes; open it with 'rb'")
        if hasattr(stream, "seekable") and stream.seekable():
            return take(stream, what)
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot read {what}: {getattr(error, 'strerror', None) or error}") from error
    return _to_its_end(stream, what, take, noun)


def _to_its_end(stream: IO[bytes], what: str, take: Take[T], noun: str) -> T:
    """A pipe or device: what comes until it ends, within the bound of encoded images."""
    pieces, size = list[bytes](), 0
    try:
        while piece := stream.read(1 << 20):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_BYTES:
                raise _over(what, noun)
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot read {what}: {getattr(error, 'strerror', None) or error}") from error
    return take(b"".join(pieces), what)


def _bounded(data: bytes | bytearray | memoryview, what: str, noun: str) -> bytes:
    if memoryview(data).nbytes > MAX_BYTES:
        raise _over(what, noun)
    return bytes(data)


def _over(what: str, noun: str) -> ImageError:
    return ImageError(f"{what} is over {MAX_BYTES >> 20} MiB; give a smaller {noun}")
