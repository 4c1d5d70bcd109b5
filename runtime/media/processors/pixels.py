"""What processors of every kind do to pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clasp_trt.bundle.media import RESAMPLINGS


def to_rgb(image: Image.Image) -> Image.Image:
    """``image`` in RGB, its transparency blended onto white."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def resampling(name: str) -> Image.Resampling:
    """Pillow's filter of that name in :data:`clasp_trt.bundle.media.RESAMPLINGS`."""
    return Image.Resampling(RESAMPLINGS.index(name))


def scaled(
    pixels: NDArray[np.uint8], rescale: float, mean: tuple[float, ...], std: tuple[float, ...]
) -> NDArray[np.float32]:
    """float32 ``[channels, height, width]``, contiguous, from uint8 ``[height, width, channels]``.

    The factor is applied in float64 and rounded, mean and deviation in float32, as in ``transformers``.
    """
    values = (pixels.astype(np.float64) * rescale).astype(np.float32)
    values -= np.asarray(mean, np.float32)
    values /= np.asarray(std, np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def cut(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """uint8 ``[tiles, side, side, channels]``, in raster order, of ``[height, width, channels]``, whose sides are
    multiples of ``side``."""
    height, width, channels = pixels.shape
    parts = pixels.reshape(height // side, side, width // side, side, channels).transpose(0, 2, 1, 3, 4)
    tiles: NDArray[np.uint8] = parts.reshape(-1, side, side, channels)
    return tiles


def cells(rows: range, columns: range) -> NDArray[np.int64]:
    """Left, top, right and bottom of cells of size 1, in raster order, int64 ``[cells, 4]``."""
    top, left = (axis.reshape(-1) for axis in np.meshgrid(numbers(rows), numbers(columns), indexing="ij"))
    return np.stack([left, top, left + 1, top + 1], axis=1)


def numbers(within: range) -> NDArray[np.int64]:
    """``within`` as an array, also if it is empty: of that numpy alone would make floats."""
    return np.array(within, dtype=np.int64)
