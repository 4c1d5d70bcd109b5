"""Kind ``mixed``: one square, whose cells are mixed to fewer tokens.

Same operations, order and rounding as ``transformers``' Pillow-backed image processors have for a square, and the
pooling of ``LlavaOnevisionModel``: resize in uint8, rescale in float64 and round to float32, normalise in float32; the
projected cells are resized bilinearly.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from clasp_trt.bundle.mixed import Mixed
from clasp_trt.chain import port
from clasp_trt.runtime.media.processors.pixels import cells, resampling, scaled, to_rgb
from clasp_trt.runtime.media.processors.taps import bilinear, unmixed
from clasp_trt.runtime.media.seen import Block, Seen


class MixedProcessor:
    """See :class:`clasp_trt.bundle.mixed.Mixed`. The vision graph takes ``pixel_values`` ``[1, 3, tile, tile]``, the
    projector ``row_index`` int64 and ``row_weight`` float32, both ``[tokens, 4]``, the newline being the row after the
    square's."""

    def __init__(self, record: Mixed) -> None:
        self._record, self._resample = record, resampling(record.resample)
        index, weight = bilinear(np.arange(record.rows).reshape(record.cells, -1), record.grid, record.grid)
        ending = unmixed(np.full(int(record.end), record.rows))
        self._pack = {
            port.ROW_INDEX: np.concatenate([index.reshape(-1, 4), ending[0]]),
            port.ROW_WEIGHT: np.concatenate([weight.reshape(-1, 4), ending[1]]),
        }
        placed = cells(range(record.grid), range(record.grid)) * (record.cells / record.grid * record.cell)
        blocks = [Block(record.grid**2, (1, record.grid, record.grid), placed.astype(np.float32))]
        if record.end:
            blocks.append(Block(1, (1, 1, 1), np.full((1, 4), np.nan, np.float32)))
        self._blocks = tuple(blocks)

    def count(self, height: int, width: int) -> int:
        """As many whatever the size."""
        return sum(block.tokens for block in self._blocks)

    def __call__(self, image: Image.Image) -> Seen:
        record, side = self._record, self._record.tile
        square = self._squared(to_rgb(image)).resize((side, side), resample=self._resample)
        values = scaled(np.asarray(square), record.rescale, record.mean, record.std)
        return Seen({port.PIXEL_VALUES: values[None]}, self._pack, self._blocks, square)

    def _squared(self, image: Image.Image) -> Image.Image:
        """In the middle of its background, the odd row or column after it."""
        if self._record.background is None or image.width == image.height:
            return image
        longest = max(image.size)
        whole = Image.new("RGB", (longest, longest), self._record.background)
        whole.paste(image, ((longest - image.width) // 2, (longest - image.height) // 2))
        return whole
