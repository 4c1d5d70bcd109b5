"""What a checkpoint can be shown, resolved to the manifest's records: nothing is left to defaults of a library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from clasp_trt.brief import brief
from clasp_trt.bundle import Anyres, Media, Medium, Mixed, Processor, Run, Sequential, Square, clip_settings
from clasp_trt.bundle.media import RESAMPLINGS
from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.notice import tell
from clasp_trt.tiling import LIMITED_PINPOINTS, PINPOINTS, Tiling

_OWN, _SHARED = "preprocessor_config.json", "processor_config.json"
SETTINGS = (_OWN, _SHARED)
"""The files that may hold image settings."""
_POOLED_TYPES = ("Gemma3ImageProcessor", "Gemma3ImageProcessorFast", "Gemma3ImageProcessorPil")
_NOT_READ = ("do_pad", "pad_size", "do_center_crop", "crop_size")  # by these, though their files may have them


def squares(settings: Mapping[str, object], side: int, cell: int, token: str, id: int, root: Path) -> Media:
    """Pictures as squares of ``side`` pixels, a visual token for every ``cell`` by ``cell``, in one run.

    ``settings`` are the :func:`image_settings` of the folder ``root``. ``token`` stands for a picture in the chat
    template and, with its ``id``, under each visual token. Raises :class:`CheckpointError` for an image processor that
    does something else.
    """
    try:
        processor = clip_settings.square(settings, side, cell)
    except clip_settings.SettingsError as error:
        reason = str(error).removeprefix(f"{_OWN}: ")
        raise CheckpointError(f"the {_OWN} of {root} cannot be used: {reason}; mend or replace it") from error
    return Media(Medium(processor, Run(token, token, id, before="", after=""), Sequential(start=0)))


def pooled(settings: Mapping[str, object], side: int, cell: int, pool: int, token: str, id: int, root: Path) -> Media:
    """The same, where squares of ``pool`` by ``pool`` cells become a visual token, by Gemma 3's image processor: it
    resizes a picture of any shape to the square. Crops of it, which that can make besides, are refused."""
    kind = settings.get("image_processor_type", _POOLED_TYPES[0])
    if kind not in _POOLED_TYPES:
        raise CheckpointError(
            f"the {_OWN} of {root} cannot be used: image_processor_type is {brief(kind)}; expected one of "
            f"{', '.join(_POOLED_TYPES)}; mend or replace it"
        )
    if settings.get("do_pan_and_scan"):
        raise CheckpointError(
            f"the {_OWN} of {root} cannot be used: do_pan_and_scan is {brief(settings['do_pan_and_scan'])}; expected "
            "false, for crops of a picture beside it are not supported; mend or replace it"
        )
    as_siglip = {
        **{"default_to_square": True, "resample": RESAMPLINGS.index("bilinear")},
        **{name: value for name, value in settings.items() if value is not None and name not in _NOT_READ},
        "image_processor_type": "SiglipImageProcessor",
    }
    made = squares(as_siglip, side, cell, token, id, root)
    assert isinstance(made.image.processor, Square)
    return Media(replace(made.image, processor=replace(made.image.processor, pool=pool)))


@dataclass(frozen=True)
class _Tiler:
    """An image processor that makes tiles: its names, and what it takes for settings that are absent. Tiles are cut by
    the ``crop``, or if there is none by the size."""

    types: tuple[str, ...]
    pinpoints: tuple[tuple[int, int], ...]
    size: Mapping[str, int]
    crop: int | None

    @classmethod
    def named(
        cls, name: str, pinpoints: tuple[tuple[int, int], ...], size: Mapping[str, int], crop: int | None
    ) -> _Tiler:
        return cls((name, f"{name}Fast", f"{name}Pil"), pinpoints, size, crop)


_UNLIMITED = _Tiler.named("LlavaNextImageProcessor", PINPOINTS, {"shortest_edge": 224}, 224)
_LIMITED = _Tiler.named("LlavaOnevisionImageProcessor", LIMITED_PINPOINTS, {"height": 384, "width": 384}, None)


def tiles(settings: Mapping[str, object], tiling: Tiling, token: str, id: int, root: Path) -> Media:
    """The same of pictures that ``tiling`` cuts into tiles, each resized and normalised as CLIP's processor does."""
    tiler = _UNLIMITED if tiling.limit is None else _LIMITED
    kind = settings.get("image_processor_type", tiler.types[0])
    if kind not in tiler.types:
        raise CheckpointError(
            f"the {_OWN} of {root} cannot be used: image_processor_type is {brief(kind)}; expected one of "
            f"{', '.join(tiler.types)}; mend or replace it"
        )
    pinpoints = settings.get("image_grid_pinpoints", [list(each) for each in tiler.pinpoints])
    if pinpoints != [list(each) for each in tiling.pinpoints]:
        raise CheckpointError(
            f"the {_OWN} of {root} cannot be used: its image_grid_pinpoints are not those of config.json, which the "
            "model counts tokens by; mend or replace it"
        )
    crop = settings.get("crop_size", tiler.crop)
    as_clip = {
        "size": tiler.size,
        **{name: value for name, value in settings.items() if name not in ("do_pad", "image_grid_pinpoints")},
        "image_processor_type": "CLIPImageProcessor",
        # whatever the flags say, the whole picture is resized, and tiles are as large as crops
        **{"do_resize": True, "do_center_crop": True, "crop_size": tiling.tile if crop is None else crop},
    }
    made = squares(as_clip, tiling.tile, tiling.cell, token, id, root)
    tile, side = made.image.processor, tiling.tile
    if not isinstance(tile, Square) or (tile.shortest_edge, tile.size, tile.longest_edge) not in (
        (side, None, None),
        (None, (side, side), None),
    ):
        raise CheckpointError(
            f"the {_OWN} of {root} cannot be used: its size is {brief(settings.get('size'))}; expected the tower's "
            f"{side} pixels; mend or replace it"
        )
    processor = Anyres(
        tiling.tile, tiling.cell, tiling.canvases, tile.resample, tile.rescale, tile.mean, tile.std, tiling.limit
    )
    return Media(replace(made.image, processor=processor))


def several(settings: Mapping[str, object], processor: Processor, root: Path) -> Mixed:
    """What transformers' LlavaOnevisionImageProcessor makes of each of several pictures, by settings of which
    ``processor`` is made: one square, padded with the mean. Raises :class:`CheckpointError` where that is none."""
    assert isinstance(processor, Anyres)
    mean = settings.get("image_mean", clip_settings.MEAN)  # whether or not it is taken off
    colour = tuple(int(value * 255) for value in mean) if isinstance(mean, (list, tuple)) else ()
    if len(colour) != 3 or not all(0 <= value <= 255 for value in colour):
        raise CheckpointError(
            f"the {_OWN} of {root} cannot be used for several pictures: image_mean is {brief(mean)}, which they are "
            "padded with; expected three numbers from 0 to 1; mend it, or build with --max-images 1"
        )
    if settings.get("do_resize", True) is not True:
        raise CheckpointError(
            f"the {_OWN} of {root} cannot be used for several pictures: do_resize is {brief(settings['do_resize'])}, "
            "so that they keep their size; mend it, or build with --max-images 1"
        )
    return Mixed(
        tile=processor.tile,
        cell=processor.cell,
        grid=processor.tiling.grid,
        end=True,
        resample=processor.resample,
        rescale=processor.rescale,
        mean=processor.mean,
        std=processor.std,
        background=(colour[0], colour[1], colour[2]),
    )


def image_settings(checkpoint: Checkpoint) -> dict[str, object]:
    """The image processor's settings: those in ``processor_config.json``, where transformers 5 saves them, or else the
    file of their own."""
    own, nested = checkpoint.root / _OWN, _nested(checkpoint)
    if nested is None:
        return checkpoint.json(_OWN)
    if own.is_file() and (differs := _differing(nested, checkpoint.json(_OWN))):
        tell(
            f"{checkpoint.root}: pictures are made as image_processor of {_SHARED} says, as in transformers; {_OWN} is "
            f"not read, and has another {differs[0]}"
        )
    return nested


def has_image_settings(checkpoint: Checkpoint) -> bool:
    """Whether there are any, as there are none beside a config alone."""
    return (checkpoint.root / _OWN).is_file() or _nested(checkpoint) is not None


def _nested(checkpoint: Checkpoint) -> dict[str, object] | None:
    found = checkpoint.json(_SHARED).get("image_processor") if (checkpoint.root / _SHARED).is_file() else None
    return found if isinstance(found, dict) else None


def _differing(nested: dict[str, object], own: dict[str, object]) -> list[str]:
    """Settings that both have, and not alike; which class reads them is not one."""
    return [name for name, value in nested.items() if name in own and own[name] != value and not name.endswith("_type")]
