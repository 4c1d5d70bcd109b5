"""Real photographs, in the sizes, modes and orientations that users have."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PHOTOS = Path(__file__).resolve().parents[2] / "examples" / "photos"


@pytest.fixture(scope="session")
def photos() -> dict[str, Path]:
    """The example photographs by name."""
    return {path.stem: path for path in sorted(PHOTOS.glob("*.[jp][pn]g"))}


@pytest.fixture(scope="session")
def variants(photos: dict[str, Path]) -> dict[str, Image.Image]:
    """Photographs in every mode that matters and in odd sizes; transparency is real, not constant."""
    cat, cup = Image.open(photos["chelsea"]).convert("RGB"), Image.open(photos["coffee"]).convert("RGB")
    ramp = Image.linear_gradient("L").resize(cat.size)
    cat_alpha = cat.copy()
    cat_alpha.putalpha(ramp)
    grey_alpha = cat.convert("L")
    grey_alpha.putalpha(ramp)
    palette = cup.quantize(32)
    see_through = palette.copy()
    see_through.info["transparency"] = 3
    deep = Image.fromarray(np.asarray(cup.convert("L")).astype(np.uint16) * 257)
    return {
        "RGB": cat,
        "RGB square": Image.open(photos["astronaut"]).convert("RGB"),
        "RGB odd": cup.crop((3, 5, 3 + 197, 5 + 211)),
        "RGB tall": cup.crop((100, 0, 137, 301)),
        "RGB wide": cup.crop((0, 100, 451, 113)),
        "RGB tiny": cup.resize((17, 23)),
        "RGBA": cat_alpha,
        "LA": grey_alpha,
        "L": cat.convert("L"),
        "1": cat.convert("1"),
        "P": palette,
        "P transparent": see_through,
        "CMYK": cat.convert("CMYK"),
        "YCbCr": cat.convert("YCbCr"),
        "I;16": deep,
    }


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """Encode an image in memory."""

    def encoded(image: Image.Image, format: str = "PNG", orientation: int | None = None) -> bytes:
        buffer = io.BytesIO()
        exif = Image.Exif()
        if orientation is not None:
            exif[0x0112] = orientation
        image.save(buffer, format, exif=exif)
        return buffer.getvalue()

    return encoded
