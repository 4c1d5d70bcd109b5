"""The video settings of checkpoints, as transformers' video processors read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clasp_trt.brief import brief
from clasp_trt.bundle import Clips, Frames, Grid, Mixed, Pairs, Run, Stills, clip_settings
from clasp_trt.bundle.media_reader import MAX_CLIP_FRAMES
from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.description import Film
from clasp_trt.export.grids import sized
from clasp_trt.filming import Filming, Sampling

_SHARED, _OWN, _IMAGE = "processor_config.json", "video_preprocessor_config.json", "preprocessor_config.json"
_HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Kind:
    """How the video processor of a ``model_type`` differs from others': its ``types``, by which ``rule`` it samples and
    how many frames it wants a ``multiple`` of, its ``pixels`` and ``norms`` where settings do not say, and whether
    areas are those of the ``whole`` clip, whose steps then stand apart with their times."""

    types: tuple[str, ...]
    rule: str
    multiple: int
    pixels: tuple[int, int]
    norms: tuple[tuple[float, float, float], tuple[float, float, float]]
    whole: bool


BY_FRAME = Kind(
    ("Qwen2VLVideoProcessor",),
    "even",
    2,
    (128 * 28 * 28, 28 * 28 * 768),
    (clip_settings.MEAN, clip_settings.STD),
    False,
)
BY_CLIP = Kind(("Qwen3VLVideoProcessor",), "ends", 1, (128 * 32 * 32, 32 * 32 * 768), (_HALF, _HALF), True)
STILLS = ("LlavaNextVideoVideoProcessor", "VideoLlavaVideoProcessor")
"""Video processors that make of each frame what CLIP's processor makes of a picture."""
SQUEEZED = ("LlavaOnevisionVideoProcessor",)
"""Those that make a square of each frame whatever its aspect."""
_SQUEEZES = {"size": {"height": 384, "width": 384}, "do_center_crop": False}
FPS, LEAST, MOST = 2.0, 4, 768
"""Frames a second, and the least and most of a clip, where settings do not say."""


def video_settings(checkpoint: Checkpoint) -> dict[str, object]:
    """The video processor's settings: those in ``processor_config.json``, or else the file of their own, or else those
    of the image processor, which transformers reads in its place."""
    if (checkpoint.root / _SHARED).is_file():
        nested = checkpoint.json(_SHARED).get("video_processor")
        if isinstance(nested, dict):
            return nested
    return checkpoint.json(_OWN if (checkpoint.root / _OWN).is_file() else _IMAGE)


def filming(settings: Mapping[str, object], grid: Grid, kind: Kind, most_tokens: int, root: Path) -> Filming:
    """How large frames become by the video ``settings`` of the folder ``root``, for clips of at most ``most_tokens``
    visual tokens and a tower that takes pictures as ``grid`` says."""
    patching = replace(grid.patching, least_pixels=1, most_pixels=1)
    return Filming(sized(settings, patching, root, kind.pixels, "video"), grid.time, kind.whole, most_tokens)


def sampling(settings: Mapping[str, object], kind: Kind, film: Filming, frames: int | None, root: Path) -> Sampling:
    """Which frames are taken: up to ``frames``, or as many as settings and tokens allow."""
    most = min(_count(root, settings, "max_frames", MOST), MAX_CLIP_FRAMES)
    fixed = None if settings.get("num_frames") is None else _count(root, settings, "num_frames", MOST)
    most = most if fixed is None else min(fixed, MAX_CLIP_FRAMES)
    if not film.whole:  # a clip of few tokens still has the least of each frame
        most = min(most, film.time * max(1, film.most_tokens // (2 * -(-film.patching.least_pixels // _block(film)))))
    most = min(most, film.time * film.most_tokens) if frames is None else frames
    fps = None if fixed is not None else settings.get("fps")
    if fps is not None and (type(fps) not in (int, float) or not 0 < fps <= 1000):  # type: ignore[operator]
        raise _wrong(root, "fps", brief(fps), "frames a second, above 0")
    rate = None if fixed is not None else float(fps or FPS)  # type: ignore[arg-type]
    least = min(_count(root, settings, "min_frames", LEAST), most)
    return Sampling(kind.rule, most, rate, least, min(kind.multiple, most))


def pairs(
    settings: Mapping[str, object], grid: Grid, kind: Kind, film: Filming, taken: Sampling, token: str, id: int,
    root: Path,
) -> Clips:  # fmt: skip
    """Clips whose frames become patches of several together, in one run or apart, by the video ``settings`` of the
    folder ``root``. ``token`` stands for a clip in the chat template and, with its ``id``, under each visual token.
    Raises :class:`CheckpointError` for a video processor that does something else."""
    named = settings.get("video_processor_type", kind.types[0])
    if named not in kind.types:
        raise _wrong(root, "video_processor_type", brief(named), " or ".join(kind.types))
    for name, wanted, default in (
        ("patch_size", grid.patch, grid.patch),
        ("merge_size", grid.merge, 2),
        ("temporal_patch_size", grid.time, 2),
        ("do_resize", True, True),
    ):
        if settings.get(name, default) != wanted:
            expected = "true" if wanted is True else f"{wanted}, as in config.json"
            raise _wrong(root, name, brief(settings.get(name)), expected)
    try:
        values = clip_settings.pixels(settings, *kind.norms)
    except clip_settings.SettingsError as error:
        raise CheckpointError(f"the video settings of {root} cannot be used: {error}; mend or replace them") from error
    area: dict[str, Any] = {name: getattr(film.patching, name) for name in ("least_pixels", "most_pixels")}
    frame = replace(grid, **area, **values._asdict())
    layout: Run | Frames = Run(token, token, id, before="", after="")
    if kind.whole:
        start, end = "<|vision_start|>", "<|vision_end|>"
        layout = Frames(token, token, id, "", f"<{{seconds}} seconds>{start}", end, "", "")
    return Clips(taken, Pairs(frame, film.most_tokens, kind.whole, kind.whole), layout)


def stills(settings: Mapping[str, object], film: Film, frames: int, token: str, root: Path) -> Clips:
    """Clips of up to ``frames`` frames that become squares each, all of whose tokens stand in one run, by the video
    ``settings`` of the folder ``root``. ``token`` is that of :class:`~clasp_trt.export.description.Film`."""
    types, defaults = (STILLS, {}) if film.mixed is None else (SQUEEZED, _SQUEEZES)
    named = settings.get("video_processor_type", types[0])
    if named not in types:
        raise _wrong(root, "video_processor_type", brief(named), " or ".join(types))
    tower, as_clip = film.tower, {**defaults, **settings, "image_processor_type": "CLIPImageProcessor"}
    try:
        made = clip_settings.square(as_clip, tower.image_size, tower.patch_size)
    except clip_settings.SettingsError as error:
        reason = str(error).removeprefix(f"{_IMAGE}: ")
        raise CheckpointError(f"the video settings of {root} cannot be used: {reason}; mend or replace them") from error
    layout, taken = Run(token, token, film.token, before="", after=""), Sampling("even", frames)
    if film.mixed is None:
        return Clips(taken, Stills(replace(made, pool=film.pool, cls=tower.keeps_cls)), layout)
    if made.size is None:
        raise _wrong(root, "size", brief(settings.get("size")), f"height and width, {made.side} both")
    frame = Mixed(made.side, made.cell, film.mixed, False, made.resample, made.rescale, made.mean, made.std)
    return Clips(taken, Stills(frame, ends=True), layout)


def usual_frames(settings: Mapping[str, object], usual: int, root: Path) -> int:
    """How many frames of a clip are taken by the video ``settings`` of the folder ``root``, ``usual`` where they do not
    say."""
    return min(_count(root, settings, "num_frames", usual), MAX_CLIP_FRAMES)


def _block(film: Filming) -> int:
    return film.patching.block**2


def _count(root: Path, settings: Mapping[str, object], name: str, default: int) -> int:
    value = settings.get(name)
    value = default if value is None else value
    if type(value) is not int or not 1 <= value <= 2**20:
        raise _wrong(root, name, brief(value), "a number of frames, 1 at least")
    return value


def _wrong(root: Path, name: str, said: str, expected: str) -> CheckpointError:
    return CheckpointError(
        f"the video settings of {root} cannot be used: {name} is {said}; expected {expected}; mend or replace them"
    )
