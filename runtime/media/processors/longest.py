"""Kind ``longest``: the picture is resized to a longest edge, then to whole tiles, and is one more tile as a whole.

Same operations, order and rounding as ``transformers``' Pillow-backed ``Idefics3ImageProcessor`` and
``SmolVLMImageProcessor``: three resizes in uint8, each of what the one before made, cut, rescale in float64 and round
to float32, normalise in float32.
"""

from __future__ import annotations

from PIL import Image

from clasp_trt.bundle import Longest
from clasp_trt.runtime.media.processors.pixels import resampling, to_rgb
from clasp_trt.runtime.media.processors.split import seen
from clasp_trt.runtime.media.seen import Seen


class LongestProcessor:
    """See :class:`clasp_trt.bundle.Longest`. The vision graph takes ``pixel_values`` ``[tiles, 3, tile, tile]``."""

    def __init__(self, record: Longest) -> None:
        self._record, self._resample = record, resampling(record.resample)

    def count(self, height: int, width: int) -> int:
        return self._record.count(height, width)

    def __call__(self, image: Image.Image) -> Seen:
        record, image = self._record, to_rgb(image)
        side, size = record.tile, (image.height, image.width)
        fitted = self._resized(image, record.resized(*size))
        canvas = self._resized(fitted, record.canvas(*size))
        one = canvas.size == (side, side)
        return seen(record, canvas, None if one else self._resized(canvas, (side, side)))

    def _resized(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        return image.resize(size[::-1], resample=self._resample)
