"""How much the frames that are taken of a clip may cost."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from clasp_trt.errors import ImageError
from clasp_trt.filming import Sampling
from clasp_trt.runtime.media.decoding import MOST_PIXELS

SECONDS = 60.0
"""For decoding a clip."""


@dataclass
class Budget:
    """What may be spent on the frames that ``sampling`` takes of the clip that errors call ``name``; ``max_pixels``
    bounds each."""

    name: str
    sampling: Sampling
    max_pixels: int
    _pixels: int = 0
    _end: float = field(default_factory=lambda: time.monotonic() + SECONDS)

    def count(self, width: int, height: int) -> None:
        """Counts a frame that is kept. Raises :class:`ImageError` if all of them are too much, or took too long."""
        self.check_time()
        self._pixels += width * height
        if self._pixels > MOST_PIXELS:
            raise ImageError(
                f"{self.name}: its frames have over {MOST_PIXELS // 10**6} megapixels together; take fewer, or shrink"
                " them"
            )

    def check_time(self) -> None:
        """Raises :class:`ImageError` if the time is over."""
        if time.monotonic() > self._end:
            raise ImageError(f"{self.name} took over {SECONDS:.0f} s to decode; shorten or shrink it")
