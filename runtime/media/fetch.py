"""Fetching a picture: bounded in bytes, unpacked or not, and as a whole in time."""

from __future__ import annotations

import http.client
import urllib.request
import zlib
from contextlib import suppress

from clasp_trt.errors import ImageError
from clasp_trt.runtime.media.deadline import Deadline, opener
from clasp_trt.runtime.media.urls import Address, redacted

MAX_REDIRECTS = 10
_MOVED = (301, 302, 303, 307, 308)
_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's wbits
_MEMBER = b"\x1f\x8b"
_ENCODINGS = ("gzip", "x-gzip", "deflate")


class TooLargeError(ImageError):
    """More than may be fetched."""


def fetch(url: str, limit: int, seconds: float) -> bytes:
    """What is at an http(s) URL, at most ``limit`` bytes, within ``seconds`` from now for all of it.

    User and password of the URL are sent as Basic authentication, to that host alone. Raises :class:`ImageError`, which
    never shows them.
    """
    name, deadline = redacted(url), Deadline(seconds)
    try:
        address = Address.of(url)
    except ValueError as error:
        raise ImageError(f"{name} is no URL that can be fetched: {error}") from None
    try:
        return _followed(address, name, limit, deadline)
    except (OSError, ValueError, http.client.HTTPException) as error:
        if deadline.over:
            raise ImageError(f"{name} took over {seconds:.0f} s; download it first") from None
        reason = getattr(error, "reason", None) or error
        raise ImageError(f"cannot fetch {name}: {reason}") from error


def _followed(address: Address, name: str, limit: int, deadline: Deadline) -> bytes:
    """What is there, or where it was moved to."""
    opened = opener(deadline)
    for _ in range(MAX_REDIRECTS + 1):
        headers = {"User-Agent": "clasp-trt", "Accept": "image/*"}
        if address.authorization is not None:
            headers["Authorization"] = address.authorization
        request = urllib.request.Request(address.url, headers=headers)
        with opened.open(request, timeout=deadline.left()) as response:
            location = response.headers.get("Location")
            if response.status not in _MOVED or location is None:
                return received(response, name, limit, deadline)
            address = _redirected(address, location, f"{name} answered {response.status}")
    raise ImageError(f"{name} was moved over {MAX_REDIRECTS} times; give the URL of the picture itself")


def _redirected(address: Address, location: str, told: str) -> Address:
    with suppress(UnicodeError):
        location = location.encode("latin-1").decode("utf-8")  # headers are read as Latin-1, and written in either
    try:
        return address.redirected(location)
    except ValueError as error:
        raise ImageError(f"{told}, a redirect to {redacted(location)}: {error}") from None


def received(response: http.client.HTTPResponse, name: str, limit: int, deadline: Deadline) -> bytes:
    """The body of a response, unpacked. Raises :class:`ImageError`."""
    if not 200 <= response.status < 300:
        raise ImageError(f"{name} answered {response.status} {response.reason}")
    data = bytearray()
    while len(data) + (response.length or 0) <= limit and (chunk := response.read1(1 << 16)):
        data += chunk
        deadline.left()
    if len(data) + (response.length or 0) > limit:
        raise _over(name, limit)
    if response.length:
        raise ImageError(f"{name} ended {response.length} bytes early; try again")
    content = bytes(data)
    for encoding in reversed(response.headers.get("Content-Encoding", "").lower().split(",")):
        content = _unpacked(content, encoding.strip(), name, limit)
        deadline.left()
    return content


def _unpacked(data: bytes, encoding: str, name: str, limit: int) -> bytes:
    """``data`` without one of its encodings; never more than ``limit`` bytes are made."""
    if encoding in ("", "identity"):
        return data
    if encoding not in _ENCODINGS:
        raise ImageError(f"{name} came in the encoding {encoding[:40]!a}; expected {', '.join(_ENCODINGS)} or none")
    # what is called deflate is mostly zlib's format, as it should be, and sometimes its bare inside
    zlibs = len(data) > 1 and data[0] & 15 == 8 and int.from_bytes(data[:2], "big") % 31 == 0
    window = _GZIP if encoding != "deflate" else _ZLIB if zlibs else _RAW
    made = bytearray()
    try:
        while data:  # gzip may have several members
            unpacker = zlib.decompressobj(window)
            made += unpacker.decompress(data, limit + 1 - len(made))
            if len(made) > limit:
                raise _over(name, limit)
            if not unpacker.eof:
                raise ImageError(f"{name} ended early: its {encoding} is not whole; try again")
            data = unpacker.unused_data if unpacker.unused_data.startswith(_MEMBER) else b""
    except zlib.error as error:
        raise ImageError(f"{name} is damaged: it is not {encoding} as it says ({error})") from None
    return bytes(made)


def _over(name: str, limit: int) -> ImageError:
    return TooLargeError(f"{name} is over {limit >> 20} MiB; download and shrink it first")
