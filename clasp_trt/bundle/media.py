"""How a model takes pictures, as data: a processor, a layout and positions, each a record of one *kind*.

What a family's checkpoint implies is resolved when a bundle is made, so that a runtime knows kinds and no families.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from clasp_trt.bundle.mixed import Mixed
from clasp_trt.bundle.split import Longest, Ratio
from clasp_trt.chain import port, vision_ports
from clasp_trt.chain.ports import Ports
from clasp_trt.patching import USUAL_SIZE, Patching
from clasp_trt.tensors import TensorSpec
from clasp_trt.tiling import Tiling

if TYPE_CHECKING:
    from clasp_trt.bundle.clips import Clips

RESAMPLINGS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Pillow's filters, each at the index that is its number there."""
MAX_SIDE = 4096
"""Pixels of the longest side that a processor makes."""
MAX_PIXELS = 2**26
"""Pixels that a processor makes of a picture of any shape."""
MAX_PATCH = 256
"""Pixels of a side of a patch, and the most patches of a side of what becomes a token or a window."""
MAX_TABLE = 1024
"""Positions of a side of a learned table."""
MAX_IMAGES = 100
"""Pictures that a request may have."""
MAX_VALUE = 255.0
"""No factor, mean or deviation of 8-bit values is greater."""


@dataclass(frozen=True)
class Square:
    """A processor: the picture becomes one square of ``side`` pixels, a token for each ``cell`` by ``cell`` of them.

    The picture is resized, its short side to ``shortest_edge``, or less where its long side would be over
    ``longest_edge``, or all of it to ``size`` (height, width), or not at all where all are None; then the centre is cut
    out, padded with zeros where the picture is smaller. 8-bit values are resampled by the filter ``resample`` of
    :data:`RESAMPLINGS`, multiplied by ``rescale``, less ``mean``, over ``std`` (both by channel). What is left of
    ``side`` over whole cells, to the right and below, belongs to no token. With a ``pool`` a token is as many cells a
    side, of which the tower gives a row each. With ``cls`` the tower's [CLS] is a token too, before all others.
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
    longest_edge: int | None = None
    pool: int = 1
    cls: bool = False

    @property
    def grid(self) -> int:
        """Rows, and as many columns, of tokens."""
        return self.side // self.cell // self.pool

    @property
    def tokens(self) -> int:
        """Visual tokens of every picture."""
        return self.grid**2 + self.cls

    @property
    def rows(self) -> int:
        """Rows of features that the tower gives for each of what it sees."""
        return (self.side // self.cell) ** 2 + self.cls

    @property
    def token_range(self) -> tuple[int, int, int]:
        """The least, usual and most visual tokens of a picture."""
        return (self.tokens,) * 3

    @property
    def sizes(self) -> dict[str, tuple[int, int, int]]:
        """The least, usual and most of each symbolic dimension of :attr:`inputs`: a picture is one square."""
        return {port.BATCH: (1, 1, 1)}

    @property
    def usual_size(self) -> tuple[int, int]:
        """Height and width in pixels of a picture that is taken as it is, and becomes the usual number of tokens."""
        return self.side, self.side

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What it gives the vision graph."""
        return (TensorSpec(port.PIXEL_VALUES, "float32", (port.BATCH, 3, self.side, self.side)),)

    def projector(self, layers: int, vision_width: int, width: int, dtype: str) -> Ports:
        """Those of the graph that makes visual tokens of ``layers`` layers of features."""
        if self.pool > 1:
            return vision_ports.pooling_projector(layers, self.rows, self.tokens, vision_width, width, dtype)
        return vision_ports.projector(layers, self.rows, vision_width, width, dtype)


@dataclass(frozen=True)
class Anyres:
    """A processor: the picture becomes ``tile`` by ``tile`` squares by the rules of :class:`~clasp_trt.tiling.Tiling`.

    Pixels are resampled, scaled and normalised as in :class:`Square`; padding is black before that. With a ``limit``
    the tokens of a picture with far more cells than so many tiles are mixed of several.
    """

    kind: ClassVar[str] = "anyres"
    tile: int
    cell: int
    pinpoints: tuple[tuple[int, int], ...]
    resample: str
    rescale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    limit: int | None = None

    @property
    def tiling(self) -> Tiling:
        """Its geometry."""
        return Tiling(self.tile, self.cell, self.pinpoints, limit=self.limit)

    @property
    def rows(self) -> int:
        """Rows of features that the tower gives for each of what it sees."""
        return self.tiling.rows

    @property
    def token_range(self) -> tuple[int, int, int]:
        """The least, usual and most visual tokens of a picture."""
        return self.tiling.token_range

    @property
    def sizes(self) -> dict[str, tuple[int, int, int]]:
        """The least, usual and most of each symbolic dimension of :attr:`inputs`: a picture is several tiles."""
        return {port.BATCH: self.tiling.tile_range}

    @property
    def usual_size(self) -> tuple[int, int]:
        """Height and width in pixels of a picture that becomes the usual number of tokens."""
        return self.tiling.usual_size

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What it gives the vision graph."""
        return (TensorSpec(port.PIXEL_VALUES, "float32", (port.BATCH, 3, self.tile, self.tile)),)

    def projector(self, layers: int, vision_width: int, width: int, dtype: str) -> Ports:
        """Those of the graph that makes visual tokens of ``layers`` layers of features, which an index packs."""
        return vision_ports.packing_projector(
            layers, self.rows, vision_width, width, dtype, mixes=self.limit is not None
        )


@dataclass(frozen=True)
class Grid:
    """A processor: the picture keeps its shape, and becomes patches as :class:`~clasp_trt.patching.Patching` says.

    A patch is ``time`` frames deep, those of a picture being alike. ``window`` is how many patches a side of a window
    has, of a tower that attends in windows; ``table`` how many positions a side of a learned table has that a tower
    interpolates. Pixels are resampled, scaled and normalised as in :class:`Square`.
    """

    kind: ClassVar[str] = "grid"
    patch: int
    merge: int
    time: int
    least_pixels: int
    most_pixels: int
    resample: str
    rescale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    window: int | None
    table: int | None

    @property
    def patching(self) -> Patching:
        """Its geometry."""
        return Patching(self.patch, self.merge, self.least_pixels, self.most_pixels, self.window)

    @property
    def token_range(self) -> tuple[int, int, int]:
        """The least, usual and most visual tokens of a picture."""
        return self.patching.token_range

    @property
    def usual_size(self) -> tuple[int, int]:
        """Height and width in pixels of a picture that becomes the usual number of tokens."""
        return USUAL_SIZE

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What it gives the vision graph."""
        values = 3 * self.time * self.patch**2
        return tuple(each.spec for each in vision_ports.grid_inputs(values, self.window, self.table))

    @property
    def sizes(self) -> dict[str, tuple[int, int, int]]:
        """The least, usual and most of each symbolic dimension of :attr:`inputs`."""
        found = {port.FRAMES: (1, 1, 1), port.PATCHES: self.patching.patch_range}
        if self.window is not None:
            few, usual, many = found[port.WINDOWS] = self.patching.window_range
            slots = self.window**2
            found[port.WINDOW_SLOTS] = few * slots, usual * slots, many * slots
        return found

    def projector(self, layers: int, vision_width: int, width: int, dtype: str) -> Ports:
        """Those of the graph that makes visual tokens of ``layers`` layers of features, some patches each."""
        return vision_ports.merging_projector(layers, vision_width, width, dtype)


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
class Tiles:
    """A layout: a run for each tile of a picture and one for the whole of it, each after a text that says which it is.

    Before a tile stands ``tile``, in which ``{row}`` and ``{column}`` are its numbers from 1; after each row of tiles
    ``row_end``, before the whole picture ``whole``, or ``alone`` where there are no others, and after all ``after``.
    ``placeholder``, ``token`` and ``id`` are those of :class:`Run`.
    """

    kind: ClassVar[str] = "tiles"
    placeholder: str
    token: str
    id: int
    tile: str
    row_end: str
    whole: str
    alone: str
    after: str


@dataclass(frozen=True)
class Sequential:
    """Positions that count rows from ``start`` on, text and visual tokens alike."""

    kind: ClassVar[str] = "sequential"
    axes: ClassVar[int] = 1
    start: int


@dataclass(frozen=True)
class Spatial:
    """Positions in time, row and column. Text advances all three; a picture at ``p`` has ``p`` plus the frame, row and
    column of each token, and what follows it goes on from ``p`` plus the longer of its sides in tokens.

    Frames of a clip are ``rate`` positions a second apart, rounded down, or one where it is None.
    """

    kind: ClassVar[str] = "grid"
    axes: ClassVar[int] = 3
    start: ClassVar[int] = 0
    rate: float | None


Processor: TypeAlias = Square | Anyres | Grid | Ratio | Longest | Mixed
Layout: TypeAlias = Run | Tiles
Positions: TypeAlias = Sequential | Spatial


@dataclass(frozen=True)
class Medium:
    """One kind of thing to look at: how it becomes tensors, where its tokens stand in the prompt, and at what
    positions."""

    processor: Processor
    layout: Layout
    positions: Positions


@dataclass(frozen=True)
class Media:
    """What a model can be shown; ``images`` is how many pictures a request may have, and with ``video`` it may have a
    clip, as far as the tokens of all together are no more than :attr:`token_range` says. ``several`` is what each of
    several pictures is made by, where that is not what one alone is made by."""

    image: Medium
    images: int = 1
    video: Clips | None = None
    several: Processor | None = None

    @property
    def token_range(self) -> tuple[int, int, int]:
        """The least, usual and most visual tokens of a request with something to see."""
        least, usual, most = self.image.processor.token_range
        if self.several is None:
            pictures = least, usual, self.images * most
        else:
            few, _, many = self.several.token_range
            pictures = min(least, 2 * few), usual, max(most, self.images * many)
        return self._wider(pictures, None if self.video is None else self.video.token_range)

    def among(self, count: int) -> Processor:
        """What each of ``count`` pictures of a request is made by."""
        return self.image.processor if self.several is None or count == 1 else self.several

    def step_sizes(self, *, pictures: bool, clips: bool) -> dict[str, tuple[int, int, int]]:
        """The least, usual and most of each symbolic dimension, of the tokens too, of what a tower sees at once: a
        picture, or what it sees of a clip in a step."""
        found = dict[str, tuple[int, int, int]]()
        if pictures:
            found = {port.VISUAL_TOKENS: self.image.processor.token_range, **self.image.processor.sizes}
            if self.several is not None:
                apart = {port.VISUAL_TOKENS: self.several.token_range, **self.several.sizes}
                found = {name: self._wider(sizes, (apart[name][0], apart[name][2])) for name, sizes in found.items()}
        if clips and self.video is not None:
            least, most = self.video.processor.step_range
            for name, others in {port.VISUAL_TOKENS: (least, most, most), **self.video.processor.sizes}.items():
                found[name] = self._wider(found.get(name, others), (others[0], others[2]))
        return found

    @staticmethod
    def _wider(sizes: tuple[int, int, int], others: tuple[int, int] | None) -> tuple[int, int, int]:
        least, usual, most = sizes
        return sizes if others is None else (min(least, others[0]), usual, max(most, others[1]))


def content(media: Media) -> dict[str, Any]:
    """``media`` as JSON: each record with its kind first."""
    found: dict[str, Any] = {"image": {name: _record(record) for name, record in vars(media.image).items()}}
    if media.images != 1:
        found["images"] = media.images
    if media.several is not None:
        found["several"] = _record(media.several)
    if media.video is not None:
        clips = vars(media.video)
        found["video"] = {**clips, "sampling": _values(media.video.sampling)}
        for name in ("processor", "layout"):
            found["video"][name] = _record(clips[name])
    return found


def _record(record: Any) -> dict[str, Any]:
    return {"kind": record.kind, **_values(record)}


def _values(record: Any) -> dict[str, Any]:
    values = {name: _listed(value) for name, value in vars(record).items()}
    for name in ("longest_edge", "limit"):  # keys of records that have one, and of no others
        if values.get(name, 0) is None:
            del values[name]
    if values.get("pool") == 1:
        del values["pool"]
    for name in ("cls", "ends"):
        if values.get(name) is False:
            del values[name]
    for name in ("skip", "numerals"):
        if name in values and not values[name]:
            del values[name]
    return values


def _listed(value: Any) -> Any:
    """Tuples as lists, and records within records."""
    if hasattr(value, "kind"):
        return _record(value)
    return [_listed(each) for each in value] if isinstance(value, tuple) else value
