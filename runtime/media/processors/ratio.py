"""Kind ``ratio``: the picture fills whole tiles of about its own ratio, and is one more tile as a whole.

Same operations, order and rounding as ``transformers``' Pillow-backed ``GotOcr2ImageProcessor`` with
``crop_to_patches``: resize in uint8, cut, rescale in float64 and round to float32, normalise in float32.
"""

from __future__ import annotations

from PIL import Image

from clasp_trt.bundle import Ratio
from clasp_trt.runtime.media.processors.pixels import resampling, to_rgb
from clasp_trt.runtime.media.processors.split import seen
from clasp_trt.runtime.media.seen import Seen


class RatioProcessor:
    """See :class:`clasp_trt.bundle.Ratio`. The vision graph takes ``pixel_values`` ``[tiles, 3, tile, tile]``."""

    def __init__(self, record: Ratio) -> None:
        self._record, self._resample = record, resampling(record.resample)

    def count(self, height: int, width: int) -> int:
        return self._record.count(height, width)

    def __call__(self, image: Image.Image) -> Seen:
        image, side = to_rgb(image), self._record.tile
        height, width = self._record.canvas(image.height, image.width)
        canvas = image.resize((width, height), resample=self._resample)
        one = (height, width) == (side, side)
        return seen(self._record, canvas, None if one else image.resize((side, side), resample=self._resample))
