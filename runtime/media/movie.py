"""Video files, through PyAV where it is installed."""

from __future__ import annotations

import io
from typing import IO, Any

from PIL import Image

from clasp_trt.errors import ClaspError, ImageError
from clasp_trt.extras import remedy
from clasp_trt.runtime.media.animation import Decoded
from clasp_trt.runtime.media.decoding import upright_rgb
from clasp_trt.runtime.media.sampling import Budget

_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,flv,asf,ogg,ivf,gif"
"""Containers that hold a clip themselves; a list of other files or addresses is none."""
_MOST = 1_000_000


def movie(data: bytes | IO[bytes], budget: Budget) -> Decoded:
    """Frames and their seconds, and how long the whole lasts. Raises :class:`ImageError` without PyAV, for a file
    without pictures, a damaged one, and what is over the budget."""
    try:
        import av  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise ImageError(
            f"{budget.name} is no animation (gif, webp, png), and other videos need PyAV: {remedy('video')}; or give a "
            "folder of its frames"
        ) from None
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    try:
        found = _sampled(av, file, *_counted(av, file, budget), budget)
    except ClaspError:
        raise
    except Exception as error:  # of FFmpeg, one for each of its numbers, or of the file
        raise ImageError(f"{budget.name} is not a video that can be read: {error}") from error
    return found


def _open(av: Any, file: IO[bytes]) -> Any:
    file.seek(0)
    return av.open(file, options={"format_whitelist": _FORMATS, "protocol_whitelist": ""}, metadata_errors="ignore")


def _stream(container: Any, budget: Budget) -> Any:
    if not container.streams.video:
        raise ImageError(f"{budget.name} has no pictures in it; expected a video")
    stream = container.streams.video[0]
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > budget.max_pixels:
        raise ImageError(
            f"{budget.name} has {width}x{height} pixels, over {budget.max_pixels / 10**6:g} megapixels; shrink it first"
        )
    return stream


def _counted(av: Any, file: IO[bytes], budget: Budget) -> tuple[int, float]:
    """How many frames there are, and for how long, by decoding them all: what a header says of it may be wrong."""
    count = 0
    with _open(av, file) as container:
        stream = _stream(container, budget)
        rate = float(stream.average_rate or 1)
        for _ in container.decode(stream):
            count += 1
            budget.check_time()
            if count > _MOST:
                raise ImageError(f"{budget.name} has over {_MOST} frames; shorten it")
    if not count:
        raise ImageError(f"{budget.name} has no frames; expected a video")
    return count, count / rate


def _sampled(av: Any, file: IO[bytes], there: int, lasts: float, budget: Budget) -> Decoded:
    wanted, found = {*budget.sampling.numbers(there, lasts)}, list[tuple[Image.Image, float]]()
    first: float | None = None
    with _open(av, file) as container:
        stream = _stream(container, budget)
        rate = float(stream.average_rate or 1)
        for number, frame in enumerate(container.decode(stream)):
            seconds = number / rate if frame.time is None else float(frame.time)
            first = seconds if first is None else first
            if number in wanted:
                found.append((upright_rgb(frame.to_image(), budget.name, budget.max_pixels), max(0.0, seconds - first)))
                budget.count(frame.width, frame.height)
            if number == max(wanted):
                break
    return found, lasts
