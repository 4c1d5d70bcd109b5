"""The ``media`` of a manifest, read strictly: one function for each kind, and every number within bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from math import isqrt
from types import MappingProxyType
from typing import TypeVar

from clasp_trt.bundle.clips import ClipLayout, ClipProcessor, Clips, Frames, Pairs, Stills
from clasp_trt.bundle.errors import UnknownKind
from clasp_trt.bundle.media import (
    MAX_IMAGES,
    MAX_PATCH,
    MAX_PIXELS,
    MAX_SIDE,
    MAX_TABLE,
    MAX_VALUE,
    RESAMPLINGS,
    Anyres,
    Grid,
    Layout,
    Media,
    Medium,
    Positions,
    Processor,
    Run,
    Sequential,
    Spatial,
    Square,
    Tiles,
)
from clasp_trt.bundle.mixed import Mixed
from clasp_trt.bundle.split import MAX_TILES, Longest, Ratio
from clasp_trt.filming import RULES, Sampling
from clasp_trt.storage.fields import Field

MAX_TEXT = 1000
"""Characters of a text that a layout writes."""
MAX_ID = 2**32 - 1
MAX_PINPOINTS = 100
"""Canvases that a picture may be fitted into."""
MAX_FRAMES = 16
"""Frames that a patch is deep."""
MAX_CLIP_FRAMES = 512
"""Frames that are taken of a clip."""
MAX_CLIP_TOKENS = 2**20
"""Visual tokens of a clip."""
_LONGEST, _POOL, _CLS = "longest_edge", "pool", "cls"  # keys of squares that have one, and of no others
_LIMIT, _ENDS = "limit", "ends"  # likewise of tiles, and of stills
_IMAGES = "images"  # a key of bundles that take several pictures, and of no others
_VIDEO = "video"  # and of those that take clips
_SKIP, _NUMERALS = "skip", "numerals"  # keys of clips that have them, and of no others
_SEVERAL = "several"  # and of those whose several pictures are seen otherwise than one

_Record = TypeVar("_Record")
_Number = TypeVar("_Number", int, float)


def media(item: Field) -> Media:
    """Raises :class:`~clasp_trt.bundle.errors.ManifestField`, or :class:`~clasp_trt.bundle.errors.UnknownKind`."""
    of = item.record("image", optional=(_IMAGES, _VIDEO, _SEVERAL))
    images = of[_IMAGES].integer(2, MAX_IMAGES) if _IMAGES in of else 1
    if _SEVERAL in of and images == 1:
        of[_SEVERAL].fail("images beside several")
    return Media(
        _medium(of["image"]),
        images,
        _clips(of[_VIDEO]) if _VIDEO in of else None,
        _one_of(PROCESSORS, of[_SEVERAL]) if _SEVERAL in of else None,
    )


def _medium(item: Field) -> Medium:
    of = item.record(*(entry.name for entry in fields(Medium)))
    return Medium(
        processor=_one_of(PROCESSORS, of["processor"]),
        layout=_one_of(LAYOUTS, of["layout"]),
        positions=_one_of(POSITIONS, of["positions"]),
    )


def _clips(item: Field) -> Clips:
    of = item.record(*(entry.name for entry in fields(Clips)))
    sampling, layout = _sampling(of["sampling"]), _one_of(CLIP_LAYOUTS, of["layout"])
    if isinstance(layout, Frames) and layout.numerals and len(layout.numerals) != sampling.frames:
        of["layout"].open_record(_NUMERALS)[_NUMERALS].fail(f"a text for each number of frames up to {sampling.frames}")
    return Clips(sampling, _one_of(CLIP_PROCESSORS, of["processor"]), layout)


def _sampling(item: Field) -> Sampling:
    of = item.record(*(entry.name for entry in fields(Sampling) if entry.name != _SKIP), optional=(_SKIP,))
    frames = of["frames"].integer(1, MAX_CLIP_FRAMES)
    return Sampling(
        rule=of["rule"].one_of(RULES),
        frames=frames,
        fps=None if of["fps"].value is None else _positive(of["fps"]),
        least=of["least"].integer(1, frames),
        multiple=of["multiple"].integer(1, min(frames, MAX_FRAMES)),
        skip=_positive(of[_SKIP]) if _SKIP in of else 0.0,
    )


def _stills(item: Field) -> Stills:
    of = item.record("kind", "frame", optional=(_ENDS,))
    frame, ends = _one_of(PROCESSORS, of["frame"]), _ENDS in of and _flag(of[_ENDS])
    if ends and not (isinstance(frame, Mixed) and not frame.end):
        of[_ENDS].fail(f"a frame of kind '{Mixed.kind}' without an end beside ends")
    return Stills(frame, ends)


def _pairs(item: Field) -> Pairs:
    of = _members(item, Pairs)
    if of["frame"].open_record("kind")["kind"].value != Grid.kind:
        of["frame"].fail(f"a processor of kind '{Grid.kind}'")
    return Pairs(
        frame=_grid(of["frame"]),
        most_tokens=of["most_tokens"].integer(1, MAX_CLIP_TOKENS),
        whole=_flag(of["whole"]),
        apart=_flag(of["apart"]),
    )


def _frames(item: Field) -> Frames:
    names = [entry.name for entry in fields(Frames) if entry.name != _NUMERALS]
    of = item.record("kind", *names, optional=(_NUMERALS,))
    numerals = tuple(each.text(MAX_TEXT) for each in of[_NUMERALS].elements()) if _NUMERALS in of else ()
    if _NUMERALS in of and not numerals:
        of[_NUMERALS].fail("one text or more")
    return Frames(
        placeholder=of["placeholder"].text(MAX_TEXT),
        token=of["token"].text(MAX_TEXT),
        id=of["id"].integer(0, MAX_ID),
        opening=_written(of["opening"]),
        before=_written(of["before"]),
        after=_written(of["after"]),
        between=_written(of["between"]),
        closing=_written(of["closing"]),
        numerals=numerals,
    )


def _one_of(kinds: Mapping[str, Callable[[Field], _Record]], item: Field) -> _Record:
    kind = item.open_record("kind")["kind"]
    if kind.text() not in kinds:
        raise UnknownKind(
            f"{kind.source}: {kind.place}: {kind.text()[:60]!a}, but this clasp-trt knows {', '.join(kinds)}: upgrade"
            " clasp-trt"
        )
    return kinds[kind.text()](item)


def _members(item: Field, record: type[object]) -> dict[str, Field]:
    return item.record("kind", *(entry.name for entry in fields(record)))  # type: ignore[arg-type]  # a dataclass


def _square(item: Field) -> Square:
    names = [entry.name for entry in fields(Square) if entry.name not in (_LONGEST, _POOL, _CLS)]
    of = item.record("kind", *names, optional=(_LONGEST, _POOL, _CLS))
    side = of["side"].integer(1, MAX_SIDE)
    cell = of["cell"].integer(1, side)
    pool = of[_POOL].integer(2, side // cell) if _POOL in of else 1
    if side // cell % pool:
        of[_POOL].fail(f"a divisor of the {side // cell} cells a side")
    has_cls = _CLS in of and _flag(of[_CLS])
    if has_cls and pool > 1:
        of[_POOL].fail("none beside cls")
    edge = None if of["shortest_edge"].value is None else of["shortest_edge"].integer(1, MAX_SIDE)
    size = None if of["size"].value is None else _size(of["size"])
    if edge is not None and size is not None:
        of["size"].fail("null beside a shortest_edge")
    longest = of[_LONGEST].integer(1, MAX_SIDE) if _LONGEST in of else None
    if longest is not None and edge is None:
        of[_LONGEST].fail("a shortest_edge beside a longest_edge")
    return Square(
        side=side,
        cell=cell,
        shortest_edge=edge,
        size=size,
        resample=of["resample"].one_of(RESAMPLINGS),
        rescale=_positive(of["rescale"]),
        mean=_three(of["mean"], _value),
        std=_three(of["std"], _positive),
        longest_edge=longest,
        pool=pool,
        cls=has_cls,
    )


def _anyres(item: Field) -> Anyres:
    names = [entry.name for entry in fields(Anyres) if entry.name != _LIMIT]
    of = item.record("kind", *names, optional=(_LIMIT,))
    tile = of["tile"].integer(1, MAX_SIDE)
    pinpoints = tuple(_canvas(each, tile) for each in of["pinpoints"].elements())
    if not 1 <= len(pinpoints) <= MAX_PINPOINTS:
        of["pinpoints"].fail(f"1 to {MAX_PINPOINTS} heights and widths")
    return Anyres(
        tile=tile,
        cell=of["cell"].integer(1, tile),
        pinpoints=pinpoints,
        resample=of["resample"].one_of(RESAMPLINGS),
        rescale=_positive(of["rescale"]),
        mean=_three(of["mean"], _value),
        std=_three(of["std"], _positive),
        limit=of[_LIMIT].integer(1, MAX_TILES) if _LIMIT in of else None,
    )


def _grid(item: Field) -> Grid:
    of = _members(item, Grid)
    merge, least = of["merge"].integer(1, MAX_PATCH), of["least_pixels"].integer(1, MAX_PIXELS)
    window = None if of["window"].value is None else of["window"].integer(1, MAX_PATCH)
    if window is not None and window % merge:
        of["window"].fail(f"a multiple of the {merge} patches a side of a token")
    return Grid(
        patch=of["patch"].integer(1, MAX_PATCH),
        merge=merge,
        time=of["time"].integer(1, MAX_FRAMES),
        least_pixels=least,
        most_pixels=of["most_pixels"].integer(least, MAX_PIXELS),
        resample=of["resample"].one_of(RESAMPLINGS),
        rescale=_positive(of["rescale"]),
        mean=_three(of["mean"], _value),
        std=_three(of["std"], _positive),
        window=window,
        table=None if of["table"].value is None else of["table"].integer(2, MAX_TABLE),
    )


def _ratio(item: Field) -> Ratio:
    of = _members(item, Ratio)
    tile, patch, merge = _merged(of)
    most = of["most"].integer(1, min(MAX_TILES, MAX_SIDE**2 // tile**2))
    return Ratio(
        tile=tile,
        patch=patch,
        merge=merge,
        least=of["least"].integer(1, most),
        most=most,
        resample=of["resample"].one_of(RESAMPLINGS),
        rescale=_positive(of["rescale"]),
        mean=_three(of["mean"], _value),
        std=_three(of["std"], _positive),
    )


def _longest(item: Field) -> Longest:
    of = _members(item, Longest)
    tile, patch, merge = _merged(of)
    return Longest(
        tile=tile,
        patch=patch,
        merge=merge,
        longest=of["longest"].integer(1, min(MAX_SIDE, isqrt(MAX_TILES) * tile)),
        split=_flag(of["split"]),
        resample=of["resample"].one_of(RESAMPLINGS),
        rescale=_positive(of["rescale"]),
        mean=_three(of["mean"], _value),
        std=_three(of["std"], _positive),
    )


def _mixed(item: Field) -> Mixed:
    of = _members(item, Mixed)
    tile = of["tile"].integer(1, MAX_SIDE)
    cell = of["cell"].integer(1, tile)
    return Mixed(
        tile=tile,
        cell=cell,
        grid=of["grid"].integer(1, tile // cell),
        end=_flag(of["end"]),
        resample=of["resample"].one_of(RESAMPLINGS),
        rescale=_positive(of["rescale"]),
        mean=_three(of["mean"], _value),
        std=_three(of["std"], _positive),
        background=None if of["background"].value is None else _three(of["background"], _colour),
    )


def _colour(item: Field) -> int:
    return item.integer(0, 255)


def _merged(of: Mapping[str, Field]) -> tuple[int, int, int]:
    """Tile, patch and how many patches a side a token has: a tile has one token at least."""
    tile = of["tile"].integer(1, MAX_SIDE)
    patch = of["patch"].integer(1, tile)
    return tile, patch, of["merge"].integer(1, tile // patch)


def _canvas(item: Field, tile: int) -> tuple[int, int]:
    height, width = _size(item)
    if height % tile or width % tile:
        item.fail(f"multiples of the tile's {tile} pixels")
    return height, width


def _size(item: Field) -> tuple[int, int]:
    sides = [side.integer(1, MAX_SIDE) for side in item.elements()]
    if len(sides) != 2:
        item.fail("height and width")
    return sides[0], sides[1]


def _three(item: Field, read: Callable[[Field], _Number]) -> tuple[_Number, _Number, _Number]:
    values = [read(value) for value in item.elements()]
    if len(values) != 3:
        item.fail("three numbers, one for each channel")
    return values[0], values[1], values[2]


def _value(item: Field) -> float:
    value = item.number()
    if abs(value) > MAX_VALUE:
        item.fail(f"a number from {-MAX_VALUE:g} to {MAX_VALUE:g}")
    return value


def _positive(item: Field) -> float:
    value = _value(item)
    if value <= 0:
        item.fail(f"a positive number, up to {MAX_VALUE:g}")
    return value


def _flag(item: Field) -> bool:
    if not isinstance(item.value, bool):
        item.fail("true or false")
    return item.value


def _run(item: Field) -> Run:
    of = _members(item, Run)
    return Run(
        placeholder=of["placeholder"].text(MAX_TEXT),
        token=of["token"].text(MAX_TEXT),
        id=of["id"].integer(0, MAX_ID),
        before=_written(of["before"]),
        after=_written(of["after"]),
    )


def _tiles(item: Field) -> Tiles:
    of = _members(item, Tiles)
    return Tiles(
        placeholder=of["placeholder"].text(MAX_TEXT),
        token=of["token"].text(MAX_TEXT),
        id=of["id"].integer(0, MAX_ID),
        tile=_written(of["tile"]),
        row_end=_written(of["row_end"]),
        whole=_written(of["whole"]),
        alone=_written(of["alone"]),
        after=_written(of["after"]),
    )


def _written(item: Field) -> str:
    """A text that goes into the prompt as it is: perhaps empty, perhaps with line ends."""
    if type(item.value) is not str or len(item.value) > MAX_TEXT:
        item.fail(f"a string of at most {MAX_TEXT} characters")
    return item.value


def _sequential(item: Field) -> Sequential:
    return Sequential(_members(item, Sequential)["start"].integer(0, 1))


def _spatial(item: Field) -> Spatial:
    rate = _members(item, Spatial)["rate"]
    return Spatial(None if rate.value is None else _positive(rate))


PROCESSORS: Mapping[str, Callable[[Field], Processor]] = MappingProxyType(
    {
        Square.kind: _square,
        Anyres.kind: _anyres,
        Grid.kind: _grid,
        Ratio.kind: _ratio,
        Longest.kind: _longest,
        Mixed.kind: _mixed,
    }
)
LAYOUTS: Mapping[str, Callable[[Field], Layout]] = MappingProxyType({Run.kind: _run, Tiles.kind: _tiles})
POSITIONS: Mapping[str, Callable[[Field], Positions]] = MappingProxyType(
    {Sequential.kind: _sequential, Spatial.kind: _spatial}
)
CLIP_PROCESSORS: Mapping[str, Callable[[Field], ClipProcessor]] = MappingProxyType(
    {Stills.kind: _stills, Pairs.kind: _pairs}
)
CLIP_LAYOUTS: Mapping[str, Callable[[Field], ClipLayout]] = MappingProxyType({Run.kind: _run, Frames.kind: _frames})
