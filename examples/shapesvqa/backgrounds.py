"""Places by day and by night: soft pictures that leave the foreground legible, a few variants of each, kept."""

from __future__ import annotations

import functools
import math
import random

import numpy as np
from PIL import Image, ImageDraw

from examples.shapesvqa.scene import PLACES, REFERENCE

Colour = tuple[int, int, int]

_SKY: tuple[Colour, Colour] = ((150, 198, 236), (222, 236, 246))
_GROUND: dict[str, tuple[Colour, Colour]] = {
    "beach": ((232, 214, 170), (214, 190, 140)),
    "forest": ((142, 184, 120), (104, 150, 92)),
    "city": ((172, 172, 178), (140, 140, 148)),
    "snow": ((244, 247, 250), (216, 226, 238)),
    "sea": ((112, 172, 204), (70, 130, 176)),
    "desert": ((232, 190, 130), (212, 158, 100)),
}
_HORIZON = {"beach": 0.3, "forest": 0.45, "city": 0.6, "snow": 0.4, "sea": 0.22, "desert": 0.38}


@functools.lru_cache(maxsize=512)
def background(place: str, night: bool, variant: int, size: int) -> Image.Image:
    """The place, RGB [size, size]. The caller must not draw on it: it is kept."""
    rng = random.Random(f"shapesvqa {place} {variant}")
    horizon = _HORIZON[place] + (rng.random() - 0.5) * 0.1
    image = _gradient(size, horizon, _GROUND[place])
    draw = ImageDraw.Draw(image)
    _DETAILS[place](draw, rng, horizon, size)
    return _by_night(image, rng, horizon) if night else image


def _gradient(size: int, horizon: float, ground: tuple[Colour, Colour]) -> Image.Image:
    """Sky above the horizon, ground below it, each fading from its first colour to its second."""
    edge = round(horizon * size)
    rows = []
    for (first, last), count in ((_SKY, edge), (ground, size - edge)):
        share = np.linspace(0, 1, count)[:, None]
        rows.append(np.array(first) * (1 - share) + np.array(last) * share)
    column = np.concatenate(rows).round().astype(np.uint8)
    return Image.fromarray(np.repeat(column[:, None], size, axis=1))


def _by_night(image: Image.Image, rng: random.Random, horizon: float) -> Image.Image:
    """Dark and blue, with stars of one pixel or so in the sky."""
    dark = np.asarray(image, np.float32) * (0.36, 0.38, 0.52) + (4, 6, 20)
    night = Image.fromarray(dark.round().clip(0, 255).astype(np.uint8))
    draw, size = ImageDraw.Draw(night), image.width
    grain = max(1, round(size / REFERENCE))
    for _ in range(14):
        x, y = rng.randrange(size), rng.randrange(max(1, round(horizon * size * 0.9)))
        draw.rectangle((x, y, x + grain - 1, y + grain - 1), fill=(190, 196, 210))
    return night


def _wave(draw: ImageDraw.ImageDraw, y: float, height: float, phase: float, fill: Colour, size: int) -> None:
    """Fills all below a wavy line; ``y`` and ``height`` as shares of the size."""
    xs = range(0, size + 1, max(1, size // 36))
    line = [(x, size * (y + height * math.sin(2 * math.pi * (1.6 * x / size + phase)))) for x in xs]
    draw.polygon([*line, (size, size), (0, size)], fill=fill)


def _beach(draw: ImageDraw.ImageDraw, rng: random.Random, horizon: float, size: int) -> None:
    draw.rectangle((0, horizon * size, size, (horizon + 0.14) * size), fill=(104, 172, 206))
    _wave(draw, horizon + 0.15, 0.02, rng.random(), (240, 244, 244), size)
    _wave(draw, horizon + 0.18, 0.02, rng.random(), _GROUND["beach"][0], size)
    _wave(draw, 0.86, 0.03, rng.random(), _GROUND["beach"][1], size)


def _forest(draw: ImageDraw.ImageDraw, rng: random.Random, horizon: float, size: int) -> None:
    base = (horizon + 0.05) * size
    for shade in ((126, 172, 118), (106, 154, 102)):
        for i in range(9):
            x, tall, wide = size * (i + rng.random()) / 9, size * rng.uniform(0.2, 0.36), size * rng.uniform(0.05, 0.08)
            draw.polygon([(x, base - tall), (x + wide, base), (x - wide, base)], fill=shade)


def _city(draw: ImageDraw.ImageDraw, rng: random.Random, horizon: float, size: int) -> None:
    base, x = horizon * size, 0.0
    while x < size:
        wide, tall = size * rng.uniform(0.09, 0.16), size * rng.uniform(0.18, 0.45)
        grey = rng.randint(150, 190)
        draw.rectangle((x, base - tall, x + wide, base), fill=(grey, grey, grey + 10))
        for row in range(int(tall / (size * 0.06))):
            for column in (0.3, 0.7):
                cx, cy, half = x + wide * column, base - tall + size * (0.03 + 0.06 * row), size * 0.012
                draw.rectangle((cx - half, cy - half, cx + half, cy + half), fill=(226, 220, 180))
        x += wide + size * 0.01
    for i in range(5):
        left = size * (i + 0.25) / 5
        draw.rectangle((left, size * 0.82, left + size * 0.09, size * 0.835), fill=(206, 206, 206))


def _snow(draw: ImageDraw.ImageDraw, rng: random.Random, horizon: float, size: int) -> None:
    for i in range(3):
        x, tall = size * (i + rng.random()) / 3, size * rng.uniform(0.16, 0.3)
        base = (horizon + 0.06) * size
        draw.polygon([(x, base - tall), (x + tall, base), (x - tall, base)], fill=(186, 202, 222))
        cap, peak = tall * 0.4, base - tall
        draw.polygon([(x, peak), (x + cap, peak + cap), (x - cap, peak + cap)], fill=(248, 250, 252))
    _wave(draw, horizon + 0.05, 0.02, rng.random(), _GROUND["snow"][0], size)
    _wave(draw, 0.75, 0.03, rng.random(), (230, 237, 245), size)


def _sea(draw: ImageDraw.ImageDraw, rng: random.Random, horizon: float, size: int) -> None:
    for row in range(7):
        y = horizon + 0.06 + row * (0.92 - horizon) / 7
        for _ in range(4):
            x, half = rng.random(), 0.05
            arc = (size * (x - half), size * (y - 0.02), size * (x + half), size * (y + 0.03))
            draw.arc(arc, 200, 340, fill=(158, 206, 228), width=max(1, size // 96))


def _desert(draw: ImageDraw.ImageDraw, rng: random.Random, horizon: float, size: int) -> None:
    for y, shade in ((horizon, (226, 182, 122)), (horizon + 0.2, (216, 168, 108)), (horizon + 0.4, (204, 152, 94))):
        _wave(draw, y, 0.045, rng.random(), shade, size)


_DETAILS = dict(zip(PLACES, (_beach, _forest, _city, _snow, _sea, _desert), strict=True))
