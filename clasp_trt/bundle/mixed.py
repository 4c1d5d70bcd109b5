"""A processor whose square becomes fewer tokens than it has cells: a record like those of
:mod:`clasp_trt.bundle.media`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from clasp_trt.chain import port, vision_ports
from clasp_trt.chain.ports import Ports
from clasp_trt.tensors import TensorSpec


@dataclass(frozen=True)
class Mixed:
    """A processor: the picture is resized to one square of ``tile`` pixels, whose ``cell`` by ``cell`` cells are mixed
    bilinearly to ``grid`` by ``grid`` visual tokens; with ``end`` the newline of a row of tiles follows them. With a
    ``background`` (red, green and blue) the picture keeps its shape, in the middle of a square of that colour.

    8-bit values are resampled by the filter ``resample``, multiplied by ``rescale``, less ``mean``, over ``std``.
    """

    kind: ClassVar[str] = "mixed"
    tile: int
    cell: int
    grid: int
    end: bool
    resample: str
    rescale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    background: tuple[int, int, int] | None = None

    @property
    def cells(self) -> int:
        """Rows, and as many columns, of cells of the square."""
        return self.tile // self.cell

    @property
    def rows(self) -> int:
        """Rows of features that the tower gives for each of what it sees."""
        return self.cells**2

    @property
    def token_range(self) -> tuple[int, int, int]:
        """The least, usual and most visual tokens of a picture: all alike."""
        return (self.grid**2 + self.end,) * 3

    @property
    def sizes(self) -> dict[str, tuple[int, int, int]]:
        """The least, usual and most of each symbolic dimension of :attr:`inputs`: a picture is one square."""
        return {port.BATCH: (1, 1, 1)}

    @property
    def usual_size(self) -> tuple[int, int]:
        """Height and width in pixels of a picture that is taken as it is."""
        return self.tile, self.tile

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What it gives the vision graph."""
        return (TensorSpec(port.PIXEL_VALUES, "float32", (port.BATCH, 3, self.tile, self.tile)),)

    def projector(self, layers: int, vision_width: int, width: int, dtype: str) -> Ports:
        """Those of the graph that makes visual tokens of ``layers`` layers of features, mixed by weights."""
        return vision_ports.packing_projector(layers, self.rows, vision_width, width, dtype, mixes=True)
