"""Pictures: intact ones of every format, mode and shape, the same with their bytes damaged, and what is no picture."""

from __future__ import annotations

import base64
import io
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import clasp_trt
from clasp_trt.bundle import Bundle
from clasp_trt.errors import ClaspError
from clasp_trt.runtime.media.image import load_image
from clasp_trt.tools.profile.workload import noise
from tests.attack import judging, mutate

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO", "JPEG2000", "AVIF", "TGA", "PCX", "ICNS", "DDS")
QUICK = ("BMP", "TIFF", "PPM")
LARGE = 5000
"""A side from which on compressing would take most of the time."""
MODES = ("RGB", "RGB", "L", "RGBA", "P", "1", "LA", "CMYK", "I;16", "I", "F", "YCbCr", "LAB", "HSV", "PA", "RGBX")
SIDES = (1, 2, 3, 16, 56, 57, 333, 1200)
INTACT = 0.3
REPEATED = 0.05


class Attack:
    """Each goes through :func:`load_image` and the vision graph of one pipeline."""

    def __init__(self, material: Path) -> None:
        bundle = Bundle.open(material / "bundle")
        self._pipeline = clasp_trt.load(bundle.root, threads=1)
        self._plain = noise(bundle)
        self._right = self._ask(self._plain)

    def __call__(self, draw: random.Random) -> str | None:
        picture = image(draw)
        source: Any = picture
        intact = draw.random() < INTACT
        if draw.random() < 0.9:
            source = _encoded(draw, picture)
            if source is None:  # the format takes no such picture
                source, intact = picture, True
            elif not intact:
                source = mutate.damaged(draw, source, draw.randbytes(200))
        with tempfile.TemporaryDirectory(prefix="attacked-") as folder:
            given = _given(draw, source, Path(folder)) if isinstance(source, bytes) else source
            try:
                upright = load_image(given)
                if upright.mode != "RGB":
                    return f"mode {upright.mode}"
                if intact and sorted(upright.size) != sorted(picture.size) and not _is_icon(source):
                    return f"{picture.size} became {upright.size}"
                self._pipeline.encode(upright)
            except ClaspError as error:
                return judging.of_error(error)
        if draw.random() < REPEATED and self._ask(self._plain) != self._right:
            return "a plain picture is answered otherwise than at first"
        return None

    def _ask(self, picture: Image.Image) -> tuple[int, ...]:
        return self._pipeline.generate(picture, "What is this?", max_new_tokens=2, ignore_stop=True).token_ids


def image(draw: random.Random) -> Image.Image:
    """A picture of any mode and shape."""
    width, height = draw.choice(SIDES), draw.choice(SIDES)
    if draw.random() < 0.02:
        width, height = draw.choice(((1, 40_000), (40_000, 1), (20_000, 20), (6000, 6000)))
    mode = draw.choice(MODES)
    pixels = np.random.default_rng(draw.randrange(2**32)).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    if mode == "F":
        values = pixels[..., 0].astype(np.float32) - 100
        values[0, 0] = draw.choice((np.nan, np.inf, -np.inf, 1e38, 0))
        return Image.fromarray(values)
    if mode == "LAB":
        return Image.fromarray(pixels, mode="LAB")
    made = Image.fromarray(pixels)
    if mode in ("PA", "LA"):
        return made.convert("RGBA").convert("LA") if mode == "LA" else made.convert("P").convert("PA")
    return made.convert(mode)


def _encoded(draw: random.Random, picture: Image.Image) -> bytes | None:
    target = io.BytesIO()
    more: dict[str, Any] = {}
    name = draw.choice(FORMATS if max(picture.size) < LARGE else QUICK)
    if name in ("JPEG", "PNG", "WEBP", "TIFF") and draw.random() < 0.3:
        exif = Image.Exif()
        exif[0x0112] = draw.choice((1, 3, 6, 8, 0, 99))
        more["exif"] = exif.tobytes() if draw.random() < 0.7 else b"Exif\0\0" + draw.randbytes(40)
    if name in ("GIF", "TIFF", "PNG", "WEBP") and draw.random() < 0.2:
        more |= {"save_all": True, "append_images": [picture.copy()]}
    try:
        picture.save(target, name, **more)
    except Exception:  # nearly every kind, by the plugin
        return None
    return target.getvalue()


def _given(draw: random.Random, data: bytes, folder: Path) -> Any:
    """The ways in which data comes."""
    way = draw.choice(("bytes", "file", "file", "text", "url", "bytearray"))
    if way == "file":
        path = folder / draw.choice(("picture", "picture.jpg", "picture.png"))
        path.write_bytes(data)
        return draw.choice((path, str(path)))
    if way == "text":
        return base64.b64encode(data).decode()
    if way == "url":
        return f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return bytearray(data) if way == "bytearray" else data


def _is_icon(source: Any) -> bool:
    """An icon holds its picture in sizes of its own."""
    return isinstance(source, bytes) and source[:4] in (b"\0\0\1\0", b"icns")
