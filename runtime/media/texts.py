"""Pictures that are texts: ``data:`` URLs (RFC 2397) and base64, in every spelling that browsers and clients use."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from clasp_trt.brief import clipped
from clasp_trt.errors import ImageError

DATA = "data:"
_IS_BASE64 = re.compile(r";\s*base64\s*$", re.IGNORECASE)
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_SPACES = b" \t\n\f\r\v"
_MOST_HEAD = 4096


def check_length(text: str, limit: int, what: str) -> None:
    """Raises :class:`ImageError` for a text that must stand for more than ``limit`` bytes, before any is copied."""
    if len(text) > 3 * limit + _MOST_HEAD:  # three characters a byte, percent-encoded, and the head
        raise _over(limit, what)


def from_data_url(url: str, limit: int) -> bytes:
    """The bytes in a ``data:`` URL, at most ``limit``: base64 or percent-encoded, with any media type and parameters.
    Raises :class:`ImageError`."""
    what = "the data: URL"
    comma = url.find(",", 0, _MOST_HEAD)
    if comma < 0:
        raise ImageError(f"{clipped(url)}: a data: URL must read data:image/...;base64,... and has no comma")
    head, body = url[:comma], url[comma + 1 :].partition("#")[0]
    if _IS_BASE64.search(head):
        if "%" in body:
            body = unquote_to_bytes(body).decode("latin-1")
        return from_base64(body, limit, what)
    data = unquote_to_bytes(body)
    if len(data) > limit:
        raise _over(limit, what)
    return data


def from_base64(text: str, limit: int, what: str) -> bytes:
    """The bytes that ``text`` is the base64 of, at most ``limit``: with white space or without, in the alphabet of URLs
    too, padded or not. Raises :class:`ImageError`."""
    if len(text) > limit * 3 // 2:  # base64 is 4/3 of the bytes, plus line ends
        raise _over(limit, what)
    try:
        digits = text.encode("ascii").translate(_URL_SAFE, _SPACES).rstrip(b"=")
        data = base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ImageError(f"{what} is neither an image file nor valid base64: {clipped(text)}") from None
    if len(data) > limit:
        raise _over(limit, what)
    return data


def _over(limit: int, what: str) -> ImageError:
    return ImageError(f"{what} is over {limit >> 20} MiB; give a smaller image")
