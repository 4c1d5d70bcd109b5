"""The video settings of checkpoints that see a clip frame by frame, each as one tile, as transformers'
``InternVLVideoProcessor`` and ``SmolVLMVideoProcessor`` read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clasp_trt.brief import brief
from clasp_trt.bundle import Longest, Ratio, Run, Tiles, clip_settings
from clasp_trt.bundle.media import MAX_SIDE, MAX_VALUE
from clasp_trt.bundle.media_reader import MAX_CLIP_FRAMES
from clasp_trt.errors import CheckpointError
from clasp_trt.export.description import MergingDescription
from clasp_trt.export.tokenizer import Tokenizer
from clasp_trt.filming import Sampling

_BY_PART, _BY_SECOND = "InternVLVideoProcessor", "SmolVLMVideoProcessor"
_TILE = 364  # of SmolVLM's, where settings do not say
_SKIP = 1.0  # seconds at both ends of a long clip, which SmolVLM's leaves out
_HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Film:
    """What the clips of a checkpoint are made of: its ``description``, the ``layout`` of its pictures, its
    ``tokenizer``, and the video ``settings`` of its folder ``root``."""

    description: MergingDescription
    layout: Run | Tiles
    tokenizer: Tokenizer
    settings: Mapping[str, object]
    root: Path


def by_part(film: Film) -> Sampling:
    """The middle, or the first, frame of each of so many parts of a clip. Raises :class:`CheckpointError`."""
    _check_type(film, _BY_PART)
    shift, count, fps = film.settings.get("initial_shift", True), _count(film), _rate(film)
    if type(shift) is not bool and shift != 0:
        raise _wrong(film, "initial_shift", brief(shift), "true or false")
    return Sampling("middle" if shift else "even", _frames(film, count), fps if count is None else None)


def by_second(film: Film) -> Sampling:
    """So many frames of each second, from end to end of a clip. Raises :class:`CheckpointError`."""
    _check_type(film, _BY_SECOND)
    fps = _rate(film)
    return Sampling("span", _frames(film, _count(film)), fps, skip=0.0 if fps is None else _SKIP)


def ratio(film: Film) -> Ratio:
    """Frames that are resized to a tile at once. Raises :class:`CheckpointError`."""
    split = film.description.split
    _check_resized(film)
    size = film.settings.get("size", {"height": 384, "width": 384})
    if size != {"height": split.tile, "width": split.tile}:
        raise _wrong(film, "size", brief(size), f"height and width of {split.tile}, which the tower takes")
    if film.settings.get("do_center_crop"):
        raise _wrong(film, "do_center_crop", brief(film.settings["do_center_crop"]), "false")
    values = _pixels(film, clip_settings.MEAN, clip_settings.STD, "bicubic")
    return Ratio(split.tile, split.patch, split.merge, least=1, most=1, **values._asdict())


def longest(film: Film) -> Longest:
    """Frames that are resized to a longest edge, then to a tile. Raises :class:`CheckpointError`."""
    split, sampled = film.description.split, _sampled(film)
    _check_resized(film)
    tile = _edge(film, "max_image_size", film.settings.get("max_image_size"), _TILE)
    if tile != split.tile:
        raise _wrong(film, "max_image_size", brief(tile), f"the {split.tile} pixels that the tower takes")
    edge = _edge(film, "size", film.settings.get("size", sampled.get("video_size")), 4 * _TILE)
    if edge > 16 * tile:
        raise _wrong(film, "size", brief(edge), f"at most 16 tiles of {tile} pixels")
    values = _pixels(film, _HALF, _HALF, "lanczos")
    return Longest(tile, split.patch, split.merge, edge, split=False, **values._asdict())


def _frames(film: Film, said: int | None) -> int:
    """As many as are asked for, or else as the settings say and as have room among the tokens of pictures."""
    asked = film.description.frames
    most = min(film.description.room, MAX_CLIP_FRAMES)
    return asked if asked is not None else most if said is None else min(said, most)


def _sampled(film: Film) -> Mapping[str, object]:
    """The older settings of a sampling, which have the last word."""
    found = film.settings.get("video_sampling", {})
    if not isinstance(found, dict):
        raise _wrong(film, "video_sampling", brief(found), "an object of max_frames, fps and video_size")
    return found


def _count(film: Film) -> int | None:
    name, value = "num_frames", film.settings.get("num_frames")
    if "max_frames" in _sampled(film):
        name, value = "video_sampling.max_frames", _sampled(film)["max_frames"]
    if value is not None and (type(value) is not int or not 1 <= value <= 2**20):
        raise _wrong(film, name, brief(value), "a number of frames, 1 at least")
    return value


def _rate(film: Film) -> float | None:
    name, value = "fps", film.settings.get("fps")
    if "fps" in _sampled(film):
        name, value = "video_sampling.fps", _sampled(film)["fps"]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= MAX_VALUE:
        raise _wrong(film, name, brief(value), f"frames a second, above 0 and up to {MAX_VALUE:g}")
    return float(value)


def _check_type(film: Film, known: str) -> None:
    kind = film.settings.get("video_processor_type", known)
    if kind != known:
        raise _wrong(film, "video_processor_type", brief(kind), known)


def _check_resized(film: Film) -> None:
    if film.settings.get("do_resize", True) is not True:
        raise _wrong(film, "do_resize", brief(film.settings.get("do_resize")), "true, for frames of every size")


def _edge(film: Film, name: str, value: object, default: int) -> int:
    value = {"longest_edge": default} if value is None else value
    edge = value.get("longest_edge") if isinstance(value, dict) and set(value) == {"longest_edge"} else None
    if type(edge) is not int or not 1 <= edge <= MAX_SIDE:
        raise _wrong(film, name, brief(value), f"a longest_edge of 1 to {MAX_SIDE} pixels")
    return edge


def _pixels(
    film: Film, mean: clip_settings.Channels, std: clip_settings.Channels, resample: str
) -> clip_settings.Pixels:
    try:
        return clip_settings.pixels(film.settings, mean, std, resample)
    except clip_settings.SettingsError as error:
        raise CheckpointError(
            f"the video settings of {film.root} cannot be used: {error}; mend or replace them"
        ) from error


def _wrong(film: Film, name: str, said: str, expected: str) -> CheckpointError:
    return CheckpointError(
        f"the video settings of {film.root} cannot be used: {name} is {said}; expected {expected}; mend or replace them"
    )
