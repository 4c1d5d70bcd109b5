"""How a model takes pictures, as data: a processor, a layout and positions, each a record of one *kind*.

What a family's checkpoint implies is resolved when a bundle is made, so that a runtime knows kinds and no families.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from clasp_trt.chain import port
from clasp_trt.tiling import Tiling

RESAMPLINGS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Pillow's filters, each at the index that is its number there."""
MAX_SIDE = 4096
"""Pixels of the longest side that a processor makes."""
MAX_VALUE = 255.0
"""No factor, mean or deviation of 8-bit values is greater."""


@dataclass(frozen=True)
class Square:
    """A processor: the picture becomes one square of ``side`` pixels, a token for each ``cell`` by ``cell`` of them.

    The picture is resized, its short side to ``shortest_edge``, or less where its long side would be over
    ``longest_edge``, or all of it to ``size`` (height, width), or not at all where all are None; then the centre is cut
    out, padded with zeros where the picture is smaller. 8-bit values are resampled by the filter ``resample`` of
    :data:`RESAMPLINGS`, multiplied by ``rescale``, less ``mean``, over ``std`` (both by channel). What is left of
    ``side`` over whole cells, to the right and below, belongs to no token.
    """

    kind: ClassVar[str] = "square"
    packs: ClassVar[bool] = False
    """Whether the rows of what the tower saw become tokens by an index that goes with each picture."""
    side: int
    cell: int
    shortest_edge: int | None
    size: tuple[int, int] | None
    resample: str
    rescale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    longest_edge: int | None = None

    @property
    def grid(self) -> int:
        """Rows, and as many columns, of tokens."""
        return self.side // self.cell

    @property
    def tokens(self) -> int:
        """Visual tokens of every picture."""
        return self.grid**2

    @property
    def rows(self) -> int:
        """Rows of features that the tower gives for each of what it sees."""
        return self.tokens

    @property
    def token_range(self) -> tuple[int, int, int]:
        """The least, usual and most visual tokens of a picture."""
        return (self.tokens,) * 3

    @property
    def seen_range(self) -> tuple[int, int, int]:
        """How many squares the vision graph takes of a picture: the least, the usual and the most."""
        return 1, 1, 1

    @property
    def usual_size(self) -> tuple[int, int]:
        """Height and width in pixels of a picture that is taken as it is, and becomes the usual number of tokens."""
        return self.side, self.side

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """What it gives the vision graph: by port, the dimensions after the first."""
        return {port.PIXEL_VALUES: (3, self.side, self.side)}


@dataclass(frozen=True)
class Anyres:
    """A processor: the picture becomes ``tile`` by ``tile`` squares by the rules of :class:`~clasp_trt.tiling.Tiling`.

    Pixels are resampled, scaled and normalised as in :class:`Square`; padding is black before that.
    """

    kind: ClassVar[str] = "anyres"
    packs: ClassVar[bool] = True
    tile: int
    cell: int
    pinpoints: tuple[tuple[int, int], ...]
    resample: str
    rescale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def tiling(self) -> Tiling:
        """Its geometry."""
        return Tiling(self.tile, self.cell, self.pinpoints)

    @property
    def rows(self) -> int:
        """Rows of features that the tower gives for each of what it sees."""
        return self.tiling.rows

    @property
    def token_range(self) -> tuple[int, int, int]:
        """The least, usual and most visual tokens of a picture."""
        return self.tiling.token_range

    @property
    def seen_range(self) -> tuple[int, int, int]:
        """How many squares the vision graph takes of a picture: the least, the usual and the most."""
        return self.tiling.tile_range

    @property
    def usual_size(self) -> tuple[int, int]:
        """Height and width in pixels of a picture that becomes the usual number of tokens."""
        return self.tiling.usual_size

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """What it gives the vision graph: by port, the dimensions after the first."""
        return {port.PIXEL_VALUES: (3, self.tile, self.tile)}


@dataclass(frozen=True)
class Run:
    """A layout: all visual tokens of a picture in one run, between the texts ``before`` and ``after``.

    ``placeholder`` is what stands for a picture in the rendered chat template, ``token`` and ``id`` are what
    the vocabulary calls the row of each visual token.
    """

    kind: ClassVar[str] = "run"
    placeholder: str
    token: str
    id: int
    before: str
    after: str


@dataclass(frozen=True)
class Sequential:
    """Positions that count rows from ``start`` on, text and visual tokens alike."""

    kind: ClassVar[str] = "sequential"
    axes: ClassVar[int] = 1
    start: int


@dataclass(frozen=True)
class Medium:
    """One kind of thing to look at: how it becomes tensors, where its tokens stand in the prompt, and at what
    positions."""

    processor: Square | Anyres
    layout: Run
    positions: Sequential


@dataclass(frozen=True)
class Media:
    """What a model can be shown."""

    image: Medium


def content(media: Media) -> dict[str, Any]:
    """``media`` as JSON: each record with its kind first."""
    return {"image": {name: {"kind": record.kind, **_values(record)} for name, record in vars(media.image).items()}}


def _values(record: Square | Anyres | Run | Sequential) -> dict[str, Any]:
    values = {name: _listed(value) for name, value in vars(record).items()}
    if values.get("longest_edge", 0) is None:  # a key of records that have one, and of no others
        del values["longest_edge"]
    return values


def _listed(value: Any) -> Any:
    return [_listed(each) for each in value] if isinstance(value, tuple) else value
