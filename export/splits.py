"""The image settings of checkpoints whose pictures are split into whole tiles, as transformers'
``GotOcr2ImageProcessor``, ``Idefics3ImageProcessor`` and ``SmolVLMImageProcessor`` read them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clasp_trt.brief import brief
from clasp_trt.bundle import Layout, Longest, Media, Medium, Ratio, Sequential, clip_settings
from clasp_trt.bundle.media import MAX_SIDE
from clasp_trt.bundle.split import MAX_TILES
from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.splitting import ByEdge, ByRatio, Split

TILES = 12
"""The most tiles by ratio where settings do not say."""
TILES_A_SIDE = 4
"""Tiles of the longest edge where there are no settings to read: those of the published checkpoints."""
_BY_RATIO, _BY_EDGE = ("GotOcr2ImageProcessor",), ("Idefics3ImageProcessor", "SmolVLMImageProcessor")
_TILE = 364  # of Idefics3's, where settings do not say
_HALF = (0.5, 0.5, 0.5)
_PROCESSOR = "processor_config.json"


def by_ratio(settings: Mapping[str, object], found: Split, root: Path) -> ByRatio:
    """``found`` with the numbers of tiles in ``settings``, the image settings of the folder ``root``. Whether they cut
    pictures is not read: the processor around them has it done. Raises :class:`CheckpointError`."""
    _check_type(settings, _BY_RATIO, root)
    size = settings.get("size", {"height": 384, "width": 384})
    if size != {"height": found.tile, "width": found.tile}:
        raise _wrong(root, "size", brief(size), f"height and width of {found.tile}, which the tower takes")
    most = _count(root, settings, "max_patches", TILES, min(MAX_TILES, MAX_SIDE**2 // found.tile**2))
    if most == 1 and settings.get("do_resize", True) is not True:
        raise _wrong(root, "do_resize", brief(settings.get("do_resize")), "true, for pictures of every size")
    return ByRatio(found.tile, found.patch, found.merge, _count(root, settings, "min_patches", 1, most), most)


def by_edge(settings: Mapping[str, object], found: Split, root: Path) -> ByEdge:
    """``found`` with the longest edge of ``settings``, likewise, and whether it is cut at all."""
    _check_type(settings, _BY_EDGE, root)
    if settings.get("do_resize", True) is not True:
        raise _wrong(root, "do_resize", brief(settings.get("do_resize")), "true, for pictures of every size")
    split = settings.get("do_image_splitting", True)
    if not isinstance(split, bool):
        raise _wrong(root, "do_image_splitting", brief(split), "true or false")
    tile = _edge(root, settings, "max_image_size", _TILE)
    if tile != found.tile:
        raise _wrong(root, "max_image_size", brief(tile), f"the {found.tile} pixels that the tower takes")
    longest = _edge(root, settings, "size", TILES_A_SIDE * _TILE)
    if longest > 16 * tile:
        raise _wrong(root, "size", brief(longest), f"at most 16 tiles of {tile} pixels")
    return ByEdge(found.tile, found.patch, found.merge, longest, split)


def media(settings: Mapping[str, object], split: ByRatio | ByEdge, layout: Layout, root: Path) -> Media:
    """Pictures that are ``split``, whose values are as ``settings`` say. Raises :class:`CheckpointError`."""
    by_ratio = isinstance(split, ByRatio)
    mean, std = (clip_settings.MEAN, clip_settings.STD) if by_ratio else (_HALF, _HALF)
    try:
        values = clip_settings.pixels(settings, mean, std, "bicubic" if by_ratio else "lanczos")
    except clip_settings.SettingsError as error:
        raise CheckpointError(f"the image settings of {root} cannot be used: {error}; mend or replace them") from error
    record = (Ratio if by_ratio else Longest)(**vars(split), **values._asdict())
    return Media(Medium(record, layout, Sequential(start=0)))


def check_tokens(checkpoint: Checkpoint, name: str, default: int, tokens: int) -> None:
    """Raises :class:`CheckpointError` if the field ``name`` of the processor says another number than the ``tokens`` of
    a tile, which the model makes."""
    there = (checkpoint.root / _PROCESSOR).is_file()
    said = checkpoint.json(_PROCESSOR).get(name, default) if there else default
    if said != tokens:
        raise CheckpointError(
            f"{name} of {checkpoint.root} is {brief(said)} {'in' if there else 'where there is no'} {_PROCESSOR}; "
            f"expected {tokens}, the tokens that the model makes of a tile; take the file that belongs to it"
        )


def _check_type(settings: Mapping[str, object], known: tuple[str, ...], root: Path) -> None:
    kind = settings.get("image_processor_type", known[0])
    if not isinstance(kind, str) or kind.removesuffix("Fast").removesuffix("Pil") not in known:
        raise _wrong(root, "image_processor_type", brief(kind), " or ".join(known))


def _count(root: Path, settings: Mapping[str, object], name: str, default: int, most: int) -> int:
    value = settings.get(name, default)
    if type(value) is not int or not 1 <= value <= most:
        raise _wrong(root, name, brief(value), f"a number of tiles, 1 to {most}")
    return value


def _edge(root: Path, settings: Mapping[str, object], name: str, default: int) -> int:
    value = settings.get(name, {"longest_edge": default})
    edge = value.get("longest_edge") if isinstance(value, dict) and set(value) == {"longest_edge"} else None
    if type(edge) is not int or not 1 <= edge <= MAX_SIDE:
        raise _wrong(root, name, brief(value), f"a longest_edge of 1 to {MAX_SIDE} pixels")
    return edge


def _wrong(root: Path, name: str, said: str, expected: str) -> CheckpointError:
    return CheckpointError(
        f"the image settings of {root} cannot be used: {name} is {said}; expected {expected}; mend or replace them"
    )
