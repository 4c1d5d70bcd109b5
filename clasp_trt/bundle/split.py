"""Processors whose pictures are split into whole tiles: records like those of :mod:`clasp_trt.bundle.media`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from clasp_trt.chain import port, vision_ports
from clasp_trt.chain.ports import Ports
from clasp_trt.splitting import ByEdge, ByRatio, Split
from clasp_trt.tensors import TensorSpec

MAX_TILES = 256
"""Tiles that a picture is cut into, without the whole of it."""


@dataclass(frozen=True)
class _Tiled(Split):
    """8-bit values are resampled by the filter ``resample``, multiplied by ``rescale``, less ``mean``, over ``std``."""

    resample: str
    rescale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What it gives the vision graph."""
        return (TensorSpec(port.PIXEL_VALUES, "float32", (port.BATCH, 3, self.tile, self.tile)),)

    @property
    def sizes(self) -> dict[str, tuple[int, int, int]]:
        """The least, usual and most of each symbolic dimension of :attr:`inputs`: a picture is several tiles."""
        return {port.BATCH: self.tile_range}

    def projector(self, layers: int, vision_width: int, width: int, dtype: str) -> Ports:
        """Those of the graph that makes visual tokens of ``layers`` layers of features, some patches each."""
        return vision_ports.merging_projector(layers, vision_width, width, dtype, pictures=port.BATCH, rows=self.rows)


@dataclass(frozen=True)
class Ratio(_Tiled, ByRatio):
    """A processor: the picture fills tiles of about its own ratio, by the rules of
    :class:`~clasp_trt.splitting.ByRatio`; the whole of it is one more."""

    kind: ClassVar[str] = "ratio"


@dataclass(frozen=True)
class Longest(_Tiled, ByEdge):
    """A processor: the picture is resized to a longest edge, then to whole tiles, by the rules of
    :class:`~clasp_trt.splitting.ByEdge`; the whole of it is one more."""

    kind: ClassVar[str] = "longest"
