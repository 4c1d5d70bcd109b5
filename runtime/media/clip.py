"""A clip from wherever the user has it, as some of its frames and their times, or one line saying why not."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO

from PIL import Image

from clasp_trt.brief import clipped
from clasp_trt.errors import ImageError
from clasp_trt.filming import Sampling
from clasp_trt.runtime.media.animation import animation
from clasp_trt.runtime.media.image import SOURCES, ImageSource, bound_of, load_image, read_source
from clasp_trt.runtime.media.movie import movie
from clasp_trt.runtime.media.sampling import Budget

DEFAULT = Sampling("even", 8)
MOST_FRAMES = 512
"""Frames that can be taken of a clip."""
LEAST_FPS = 1e-6
"""Frames a second of a folder or list."""
MOST_ENTRIES = 100_000
"""Frames that a folder or a list may have to choose from."""
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames in order of time, upright RGB, and the second of each, from 0 at the beginning of the clip, which lasts
    ``duration`` seconds; None where nobody says."""

    frames: tuple[Image.Image, ...]
    seconds: tuple[float, ...]
    duration: float | None = None

    @property
    def apart(self) -> float:
        """How many seconds lie between two frames, on average; 1 where nothing says."""
        if self.duration is not None:
            return self.duration / len(self.frames)
        return (self.seconds[-1] - self.seconds[0]) / (len(self.seconds) - 1) if len(self.seconds) > 1 else 1.0


ClipSource = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Sequence[ImageSource] | Clip
"""A folder of frames, a list of frames, or an animation or video as a file, URL, base64 text, bytes or open file."""


def load_clip(
    source: ClipSource,
    *,
    frames: int | None = None,
    fps: float = 1.0,
    sampling: Sampling = DEFAULT,
    sources: Collection[str] = SOURCES,
    max_pixels: int | None = None,
) -> Clip:
    """Some frames of a clip: those that ``sampling`` takes, which a bundle says for its model, or 8 evenly from its
    beginning on, as transformers takes them.

    Args:
        source: a GIF, animated WebP or APNG, which Pillow reads; another video file, by PyAV (the extra ``video``); a
            folder, whose pictures are taken in natural order (``2.png`` before ``10.png``); a list of pictures, each
            whatever :func:`load_image` takes; or a :class:`Clip`, which is taken as it is.
        frames: how many are taken, or all of no more, in place of what ``sampling`` says.
        fps: how many frames a second has in a folder or list, which do not say.
        sources: as for :func:`load_image`.
        max_pixels: of each frame, as for :func:`load_image`.

    Raises:
        ImageError: no frames, a file that cannot be decoded, or more than is taken: 64 MiB from a URL, pipe or text,
            178 megapixels for all frames taken, 60 seconds of decoding, 100 000 frames to choose from.
    """
    if isinstance(source, Clip):
        return source
    if frames is not None:
        if type(frames) is not int or not 1 <= frames <= MOST_FRAMES:
            raise ImageError(f"frames is {frames!r}; expected a whole number from 1 to {MOST_FRAMES}")
        sampling = replace(sampling, frames=frames, fps=None)
    if type(fps) not in (int, float) or not LEAST_FPS <= fps < math.inf:
        raise ImageError(f"fps is {fps!r}; expected how many frames a second has, {LEAST_FPS:g} at least")
    most = bound_of(max_pixels)
    if isinstance(source, (list, tuple)):
        return _chosen(source, "the list given", sampling, fps, sources, most)
    if isinstance(source, (str, os.PathLike)) and "files" in sources and _is_folder(source):
        return _chosen(_pictures(Path(source)), clipped(os.fspath(source)), sampling, fps, sources, most)

    def decoded(data: bytes | IO[bytes], name: str) -> Clip:
        budget = Budget(name, sampling, most)
        found, lasts = animation(data, budget) or movie(data, budget)
        pictures, seconds = zip(*found, strict=True)
        return Clip(pictures, seconds, lasts)

    return read_source(source, decoded, sources, noun="video")


def _is_folder(source: str | os.PathLike[str]) -> bool:
    try:
        return os.path.isdir(source)
    except ValueError:  # a NUL
        return False


def _pictures(folder: Path) -> list[Path]:
    """The files with a picture's suffix, in natural order."""
    Image.init()
    known = Image.registered_extensions()
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, MOST_ENTRIES + 1)]
    except OSError as error:
        raise ImageError(f"cannot read {clipped(str(folder))}: {error.strerror}") from error
    if len(names) > MOST_ENTRIES:
        raise ImageError(f"{clipped(str(folder))} has over {MOST_ENTRIES} files; give a folder of one clip")
    own = [name for name in names if Path(name).suffix.lower() in known and not name.startswith(".")]
    return [folder / name for name in sorted(own, key=_natural)]


def _natural(name: str) -> tuple[list[str | int], str]:
    """Numbers by their value: every second part of the split is one."""
    parts: list[str | int] = [*_DIGITS.split(name)]
    parts[1::2] = [int(part) for part in parts[1::2]]
    return parts, name


def _chosen(
    given: Sequence[ImageSource], name: str, sampling: Sampling, fps: float, sources: Collection[str], max_pixels: int
) -> Clip:
    if not given or len(given) > MOST_ENTRIES:
        raise ImageError(f"{name} has {len(given)} frames; expected 1 to {MOST_ENTRIES} pictures in it")
    budget, lasts = Budget(name, sampling, max_pixels), len(given) / fps
    taken = sampling.numbers(len(given), lasts)
    pictures = list[Image.Image]()
    for index in taken:
        pictures.append(load_image(given[index], sources=sources, max_pixels=max_pixels))
        budget.count(*pictures[-1].size)
    return Clip(tuple(pictures), tuple(index / fps for index in taken), lasts)
