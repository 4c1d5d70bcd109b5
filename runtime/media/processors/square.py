"""Kind ``square``: one square of fixed size, as CLIP's image processor makes it.

Same operations, order and rounding as ``transformers``' Pillow-backed ``CLIPImageProcessor``: convert to RGB
(blending transparency onto white), resize in uint8, crop the centre (padding with zeros what is too small),
rescale in float64 and round to float32, normalise in float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clasp_trt.bundle.media import Square
from clasp_trt.chain import port
from clasp_trt.runtime.media.processors.pixels import resampling, scaled, to_rgb
from clasp_trt.runtime.media.seen import Block, Seen

MAX_RESIZED_PIXELS = 16 * 2**20
"""A resized image above this area (50 MB of RGB) is never made whole: only what the crop keeps is resized."""


class SquareProcessor:
    """See :class:`clasp_trt.bundle.media.Square`. The vision graph takes ``pixel_values`` ``[1, 3, side, side]``."""

    def __init__(self, record: Square) -> None:
        self._record = record
        self._resample = resampling(record.resample)
        self._block = Block(record.tokens, (1, record.grid, record.grid), _boxes(record))

    def count(self, height: int, width: int) -> int:
        """As many whatever the size."""
        return self._record.tokens

    def __call__(self, image: Image.Image) -> Seen:
        record, pixels = self._record, self._pixels(to_rgb(image))
        values = scaled(pixels, record.rescale, record.mean, record.std)
        return Seen({port.PIXEL_VALUES: values[None]}, {}, (self._block,), Image.fromarray(pixels))

    def _pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """uint8 ``[side, side, 3]``: resized, cropped."""
        side = self._record.side
        height, width = self._resized_size(image.width, image.height)
        rows, columns = _window(height, side), _window(width, side)
        if height * width > MAX_RESIZED_PIXELS:
            kept = self._resize_part(image, (width, height), columns.kept, rows.kept)
        else:
            kept = np.asarray(self._resize(image, width, height))[rows.kept, columns.kept]
        canvas = np.zeros((side, side, 3), np.uint8)
        canvas[rows.placed, columns.placed] = kept
        return canvas

    def _resized_size(self, width: int, height: int) -> tuple[int, int]:
        """(height, width) after resizing; the long side is rounded down, as CLIP's processor does."""
        if self._record.size is not None:
            return self._record.size
        edge = self._record.shortest_edge
        if edge is None:
            return height, width
        short, long = min(width, height), max(width, height)
        most, exact = self._record.longest_edge, float(edge)
        if most is not None and long / short * edge > most:
            exact = most * short / long
            edge = max(1, round(exact))
        if edge == short:
            return height, width
        longer = int(exact * long / short)
        return (longer, edge) if width <= height else (edge, longer)

    @property
    def _resizes(self) -> bool:
        return self._record.shortest_edge is not None or self._record.size is not None

    def _resize(self, image: Image.Image, width: int, height: int) -> Image.Image:
        return image.resize((width, height), resample=self._resample) if self._resizes else image

    def _resize_part(self, image: Image.Image, size: tuple[int, int], columns: slice, rows: slice) -> NDArray[np.uint8]:
        """The part ``[rows, columns]`` of `image` resized to `size` (width, height), without making the rest.

        Pillow filters across the edges of `box`, so this is the same arithmetic; its coordinates are single
        precision, which may move a value by 1.
        """
        if not self._resizes:
            part = image.crop((columns.start, rows.start, columns.stop, rows.stop))
        else:
            across, down = image.width / size[0], image.height / size[1]
            box = (columns.start * across, rows.start * down, columns.stop * across, rows.stop * down)
            shape = (columns.stop - columns.start, rows.stop - rows.start)
            part = image.resize(shape, resample=self._resample, box=box)
        return np.asarray(part)


def _boxes(record: Square) -> NDArray[np.float32]:
    """float32 ``[tokens, 4]``: nowhere for [CLS], and the cells in raster order."""
    top, left = np.divmod(np.arange(record.grid**2), record.grid)
    corners = np.stack([left, top, left + 1, top + 1], axis=1) * record.cell * record.pool
    nowhere = np.full((int(record.cls), 4), np.nan)
    return np.concatenate([nowhere, corners]).astype(np.float32)


@dataclass(frozen=True)
class _Window:
    """One axis of a centre crop: `kept` of the image lands at `placed` of the result."""

    kept: slice
    placed: slice


def _window(have: int, want: int) -> _Window:
    if have >= want:
        start = (have - want) // 2
        return _Window(slice(start, start + want), slice(0, want))
    start = math.ceil((want - have) / 2)  # the odd zero goes before the image, as in transformers
    return _Window(slice(0, have), slice(start, start + have))
