"""Glyphs and signs as small pictures with smooth edges, each drawn once and kept: this is what makes drawing fast."""

from __future__ import annotations

import functools
import math

from PIL import Image, ImageChops, ImageDraw, ImageFont

from examples.shapesvqa.glyphs import GLYPHS, Pen

Colour = tuple[int, int, int]

FINE = 4
"""Sprites are drawn this many times larger and averaged down."""

PALETTE: dict[str, Colour] = {
    "red": (220, 35, 40),
    "yellow": (250, 215, 40),
    "green": (40, 165, 65),
    "blue": (40, 90, 225),
    "purple": (130, 50, 175),
    "pink": (255, 140, 190),
    "white": (250, 250, 250),
    "black": (30, 30, 34),
}
_DARK: Colour = (24, 24, 30)
_LIGHT: Colour = (235, 235, 240)

_TURNS = {"up": 90, "left": 180, "down": 270}


@functools.lru_cache(maxsize=8192)
def glyph(
    name: str, colour: str, texture: str, diameter: int, direction: str = "right", mirrored: bool = False
) -> Image.Image:
    """A glyph with an outline that stands out from any background.

    Args:
        diameter: px of the glyph; the sprite is a little larger.
        direction: glyphs look right; another turns it.

    Returns:
        RGBA, square, with its center in the middle.
    """
    rim = max(1, round(diameter / 28)) * FINE
    side = (diameter + 2 * (rim // FINE + 1)) * FINE
    mask = Image.new("L", (diameter * FINE, diameter * FINE))
    GLYPHS[name](Pen(mask))
    if direction in _TURNS:
        mask = mask.rotate(_TURNS[direction])
    if mirrored:
        mask = mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    whole = Image.new("L", (side, side))
    whole.paste(mask, ((side - mask.width) // 2,) * 2)
    sprite = Image.new("RGBA", (side, side), (*_rim(colour), 0))
    sprite.putalpha(_dilate(whole, rim))
    sprite.paste(_fill(colour, texture, side), (0, 0), whole)
    return sprite.reduce(FINE)


@functools.lru_cache(maxsize=8192)
def plate(text: str, colour: str, height: int) -> Image.Image:
    """A sign: a plate of the colour with the text on it. ``height`` is that of the font, px. RGBA."""
    font = ImageFont.load_default(height)
    left, top, right, bottom = font.getbbox(text)
    width, tall = round(right - left) + 6, round(bottom - top) + 6
    fine = Image.new("RGBA", (width * FINE, tall * FINE), (0, 0, 0, 0))
    draw = ImageDraw.Draw(fine)
    box = (0, 0, fine.width - 1, fine.height - 1)
    draw.rounded_rectangle(box, 2 * FINE, fill=(*PALETTE[colour], 255), outline=(*_rim(colour), 255), width=FINE)
    sprite = fine.reduce(FINE)
    ImageDraw.Draw(sprite).text((3 - left, 3 - top), text, font=font, fill=(*_rim(colour, text=True), 255))
    return sprite


def _dilate(mask: Image.Image, radius: int) -> Image.Image:
    """The mask grown by a disc: the union of it moved along a circle, a tenth of the time of Pillow's MaxFilter."""
    grown = mask.copy()
    for turn in range(16):
        angle = math.pi * turn / 8
        moved = ImageChops.offset(mask, round(radius * math.cos(angle)), round(radius * math.sin(angle)))
        grown = ImageChops.lighter(grown, moved)
    return grown


def _rim(colour: str, *, text: bool = False) -> Colour:
    light = ("black", "blue", "purple", "red", "green") if text else ("black",)
    return _LIGHT if colour in light else _DARK


def _fill(colour: str, texture: str, side: int) -> Image.Image:
    """The colour, with a pattern in a shade of itself: lighter on dark colours, darker on light ones."""
    base = PALETTE[colour]
    fill = Image.new("RGBA", (side, side), (*base, 255))
    if texture == "plain":
        return fill
    target, share = ((255, 255, 255), 0.62) if sum(base) < 330 else ((0, 0, 0), 0.45)
    if colour in ("black", "white"):
        share = 0.34  # any more, and the two look alike
    shade = tuple(round(b + (t - b) * share) for b, t in zip(base, target, strict=True))
    step = max(5, min(8, side // FINE // 5)) * FINE
    draw = ImageDraw.Draw(fill)
    for i, x in enumerate(range(0, side, step)):
        if texture == "striped":
            draw.rectangle((0, x, side, x + step // 2 - 1), fill=shade)
            continue
        for j, y in enumerate(range(0, side, step)):
            if texture == "dotted":
                inset = step // 5
                draw.ellipse((x + inset, y + inset, x + step - inset, y + step - inset), fill=shade)
            elif (i + j) % 2:
                draw.rectangle((x, y, x + step - 1, y + step - 1), fill=shade)
    return fill
