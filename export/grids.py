"""The image settings of checkpoints whose pictures become a grid of patches, as transformers' ``Qwen2VLImageProcessor``
reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from clasp_trt.brief import brief
from clasp_trt.bundle import Grid, Media, Medium, Run, Spatial, clip_settings
from clasp_trt.bundle.media import MAX_PIXELS
from clasp_trt.errors import CheckpointError
from clasp_trt.patching import Patching

PIXELS = (56 * 56, 28 * 28 * 1280)
"""The least and the most of a picture where settings do not say."""
_TYPES = ("Qwen2VLImageProcessor", "Qwen2VLImageProcessorFast", "Qwen2VLImageProcessorPil")
_EDGES, _OLD = ("shortest_edge", "longest_edge"), ("min_pixels", "max_pixels")


def sized(
    settings: Mapping[str, object],
    patching: Patching,
    root: Path,
    pixels: tuple[int, int] = PIXELS,
    noun: str = "image",
) -> Patching:
    """``patching`` with the areas of ``settings``, the image settings of the folder ``root``, or what errors call them
    by ``noun``; ``pixels`` where they do not say.

    ``size.shortest_edge`` and ``size.longest_edge`` are areas; ``min_pixels`` and ``max_pixels``, as old files call
    them, go before. Raises :class:`CheckpointError` for what transformers cannot read.
    """
    given = settings.get("size")
    if given is None:
        given = dict(zip(_EDGES, pixels, strict=True))
    if not isinstance(given, dict):
        raise _wrong(root, noun, "size", brief(given), f"an object with {_EDGES[0]} and {_EDGES[1]}")
    areas = dict(given)
    for edge, old in zip(_EDGES, _OLD, strict=True):
        if settings.get(old) is not None:
            areas[edge] = settings[old]
            areas.pop(old, None)
    if set(areas) != set(_EDGES):
        found = f"an object with {brief(', '.join(sorted(given)))}"
        raise _wrong(root, noun, "size", found, f"{' and '.join(_EDGES)} in it, or {' and '.join(_OLD)} beside it")
    least, most = (_area(root, noun, edge, areas[edge]) for edge in _EDGES)
    if least > most:
        raise _wrong(root, noun, _EDGES[0], brief(least), f"at most the {_EDGES[1]} of {most}")
    return replace(patching, least_pixels=least, most_pixels=most)


def grids(
    settings: Mapping[str, object],
    patching: Patching,
    time: int,
    table: int | None,
    rate: float | None,
    token: str,
    id: int,
    root: Path,
) -> Media:
    """Pictures as grids of patches ``time`` frames deep, in one run, by the image ``settings`` of the folder ``root``.

    ``patching`` is what the tower takes, :func:`sized` by these settings, ``table`` the side of its table of positions,
    and ``rate`` how many positions a second has.
    ``token`` stands for a picture in the chat template and, with its ``id``, under each visual token. Raises
    :class:`CheckpointError` for an image processor that does something else.
    """
    kind = settings.get("image_processor_type", _TYPES[0])
    if kind not in _TYPES:
        raise _wrong(root, "image", "image_processor_type", brief(kind), f"one of {', '.join(_TYPES)}")
    for name, wanted, default in (
        ("patch_size", patching.patch, 14),
        ("merge_size", patching.merge, 2),
        ("temporal_patch_size", time, 2),
        ("do_resize", True, True),
    ):
        if (found := settings.get(name, default)) is not wanted and found != wanted:
            raise _wrong(
                root, "image", name, brief(found), f"{wanted}, as in config.json" if wanted is not True else "true"
            )
    try:
        made = clip_settings.pixels(settings, clip_settings.MEAN, clip_settings.STD)
    except clip_settings.SettingsError as error:
        raise CheckpointError(f"the image settings of {root} cannot be used: {error}; mend or replace them") from error
    processor = Grid(
        patch=patching.patch,
        merge=patching.merge,
        time=time,
        least_pixels=patching.least_pixels,
        most_pixels=patching.area,
        resample=made.resample,
        rescale=made.rescale,
        mean=made.mean,
        std=made.std,
        window=patching.window,
        table=table,
    )
    return Media(Medium(processor, Run(token, token, id, before="", after=""), Spatial(rate)))


def _area(root: Path, noun: str, name: str, value: object) -> int:
    if type(value) is not int or not 1 <= value <= MAX_PIXELS:
        raise _wrong(root, noun, name, brief(value), f"whole pixels, 1 to {MAX_PIXELS}")
    return value


def _wrong(root: Path, noun: str, name: str, said: str, expected: str) -> CheckpointError:
    return CheckpointError(
        f"the {noun} settings of {root} cannot be used: {name} is {said}; expected {expected}; mend or replace them"
    )
