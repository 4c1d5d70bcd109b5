"""What the vision graph gave for pictures that were shown before, by what their pixels are."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from clasp_trt.errors import ImageError
from clasp_trt.runtime.encoded import Encoded

DEFAULT_BYTES = 128 * 2**20
"""Room for some 35 pictures of LLaVA-1.5 in fp16, where three layers of its tower are read."""


class FeatureCache:
    """Keeps pictures in ``limit`` bytes of the backend's memory; the one that was used least recently goes first.

    Threads may ask at once. Raises
    :class:`ImageError` for a limit that is no whole number of bytes; with 0 nothing is kept.
    """

    def __init__(self, limit: int) -> None:
        if type(limit) is not int or limit < 0:
            raise ImageError(f"image_cache_bytes is {limit!r}, expected a whole number of bytes, or 0 to keep nothing")
        self._limit, self._used = limit, 0
        self._lock = Lock()
        self._kept: OrderedDict[bytes, tuple[Encoded, int]] = OrderedDict()

    def key(self, image: Image.Image, *, apart: bool = False) -> bytes | None:
        """What stands for the pixels of an RGB image and its size, as it is seen or ``apart`` from that; None where
        nothing is kept."""
        if not self._limit:
            return None
        return hashlib.sha256(b"%dx%d " % image.size + image.tobytes() + b"apart" * apart).digest()

    def key_of(self, arrays: Mapping[str, NDArray[Any]]) -> bytes | None:
        """What stands for what the vision graph and the projector take; None where nothing is kept."""
        if not self._limit:
            return None
        digest = hashlib.sha256()
        for name, array in sorted(arrays.items()):
            digest.update(f"{name} {array.shape} ".encode() + array.tobytes())
        return digest.digest()

    def get(self, key: bytes | None) -> Encoded | None:
        """The picture that was put there, if it still is."""
        with self._lock:
            if key is None or key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: bytes | None, encoded: Encoded, size: int) -> None:
        """Keeps a picture of ``size`` bytes, unless it alone is over the limit."""
        if key is None or size > self._limit:
            return
        with self._lock:
            self._used += size - self._kept.pop(key, (None, 0))[1]
            self._kept[key] = encoded, size
            while self._used > self._limit:
                _, (_, least) = self._kept.popitem(last=False)
                self._used -= least

    def clear(self) -> None:
        """Lets all pictures go."""
        with self._lock:
            self._kept.clear()
            self._used = 0
