"""How a model takes pictures, as data: a processor, a layout and positions, each a record of one *kind*.

What a family's checkpoint implies is resolved when a bundle is made, so that a runtime knows kinds and no families.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

RESAMPLINGS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Pillow's filters, each at the index that is its number there."""


@dataclass(frozen=True)
class Square:
    """A processor: the picture becomes one square of ``side`` pixels, a token for each ``cell`` by ``cell`` of them.

    The picture is resized, its short side to ``shortest_edge`` or all of it to ``size`` (height, width), or not at all
    where both are None; then the centre is cut out, padded with zeros where the picture is smaller. 8-bit values are
    resampled by the filter ``resample`` of :data:`RESAMPLINGS`, multiplied by ``rescale``, less ``mean``, over ``std``
    (both by channel). What is left of ``side`` over whole cells, to the right and below, belongs to no token.
    """

    kind: ClassVar[str] = "square"
    side: int
    cell: int
    shortest_edge: int | None
    size: tuple[int, int] | None
    resample: str
    rescale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def grid(self) -> int:
        """Rows, and as many columns, of tokens."""
        return self.side // self.cell

    @property
    def tokens(self) -> int:
        """Visual tokens of every picture."""
        return self.grid**2


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
    start: int


@dataclass(frozen=True)
class Medium:
    """One kind of thing to look at: how it becomes tensors, where its tokens stand in the prompt, and at what
    positions."""

    processor: Square
    layout: Run
    positions: Sequential
