"""Silhouettes of everything that is not text: each draws itself white on black in the square from -1 to 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw

Point = tuple[float, float]


class Pen:
    """Draws on a mask in coordinates from -1 to 1, y downwards; ``erase`` draws holes."""

    def __init__(self, mask: Image.Image) -> None:
        self.half = mask.width / 2
        self.draw = ImageDraw.Draw(mask)

    def polygon(self, points: Sequence[Point], *, erase: bool = False) -> None:
        self.draw.polygon([self._at(point) for point in points], fill=_ink(erase))

    def ellipse(self, left: float, top: float, right: float, bottom: float, *, erase: bool = False) -> None:
        self.draw.ellipse((*self._at((left, top)), *self._at((right, bottom))), fill=_ink(erase))

    def box(self, left: float, top: float, right: float, bottom: float, *, erase: bool = False) -> None:
        self.draw.rectangle((*self._at((left, top)), *self._at((right, bottom))), fill=_ink(erase))

    def stroke(self, points: Sequence[Point], width: float, *, erase: bool = False) -> None:
        """A line with round ends and joints."""
        self.draw.line([self._at(point) for point in points], fill=_ink(erase), width=round(width * self.half))
        for x, y in points:
            self.ellipse(x - width / 2, y - width / 2, x + width / 2, y + width / 2, erase=erase)

    def _at(self, point: Point) -> Point:
        return (point[0] + 1) * self.half, (point[1] + 1) * self.half


def _ink(erase: bool) -> int:
    return 0 if erase else 255


def _circle(pen: Pen) -> None:
    pen.ellipse(-1, -1, 1, 1)


def _square(pen: Pen) -> None:
    pen.box(-0.88, -0.88, 0.88, 0.88)


def _triangle(pen: Pen) -> None:
    pen.polygon([(0, -1), (1, 0.85), (-1, 0.85)])


def _star(pen: Pen) -> None:
    corners = [(1.05 if i % 2 == 0 else 0.45, math.pi * (i / 5 - 0.5)) for i in range(10)]
    pen.polygon([(r * math.cos(angle), r * math.sin(angle) + 0.08) for r, angle in corners])


def _heart(pen: Pen) -> None:
    turns = [2 * math.pi * i / 48 for i in range(48)]
    outline = [
        (16 * math.sin(t) ** 3, -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)))
        for t in turns
    ]
    pen.polygon([(x / 16.5, (y - 2.5) / 15.5) for x, y in outline])


def _cross(pen: Pen) -> None:
    pen.box(-0.33, -0.95, 0.33, 0.95)
    pen.box(-0.95, -0.33, 0.95, 0.33)


def _moon(pen: Pen) -> None:
    pen.ellipse(-0.95, -1, 1.05, 1)
    pen.ellipse(-0.25, -0.95, 1.35, 0.65, erase=True)


def _ring(pen: Pen) -> None:
    pen.ellipse(-1, -1, 1, 1)
    pen.ellipse(-0.5, -0.5, 0.5, 0.5, erase=True)


def _hammer(pen: Pen) -> None:
    pen.box(-0.14, -0.6, 0.14, 1)
    pen.polygon([(-0.75, -0.95), (0.45, -0.95), (0.9, -0.5), (0.45, -0.4), (-0.75, -0.4)])


def _key(pen: Pen) -> None:
    pen.ellipse(-0.5, -1, 0.5, 0)
    pen.ellipse(-0.2, -0.7, 0.2, -0.3, erase=True)
    pen.box(-0.13, -0.1, 0.13, 1)
    pen.box(0.1, 0.35, 0.5, 0.57)
    pen.box(0.1, 0.76, 0.6, 1)


def _cup(pen: Pen) -> None:
    pen.ellipse(0.1, -0.45, 0.95, 0.45)
    pen.ellipse(0.3, -0.22, 0.7, 0.22, erase=True)
    pen.polygon([(-0.9, -0.7), (0.5, -0.7), (0.35, 0.75), (-0.75, 0.75)])


def _knife(pen: Pen) -> None:
    pen.polygon([(-1, -0.95), (0.4, 0.2), (0.15, 0.45), (-0.5, 0.1)])
    pen.stroke([(0.35, 0.38), (0.85, 0.82)], 0.28)


def _pencil(pen: Pen) -> None:
    pen.polygon([(-0.24, -1), (0.24, -1), (0.24, 0.5), (0, 1), (-0.24, 0.5)])
    pen.box(-0.3, -0.72, 0.3, -0.6, erase=True)


def _chair(pen: Pen) -> None:
    pen.box(-0.6, -1, -0.34, 1)
    pen.box(-0.6, 0.05, 0.62, 0.33)
    pen.box(0.36, 0.2, 0.62, 1)


def _lamp(pen: Pen) -> None:
    pen.polygon([(-0.35, -1), (0.35, -1), (0.75, -0.1), (-0.75, -0.1)])
    pen.box(-0.1, -0.1, 0.1, 0.85)
    pen.ellipse(-0.5, 0.65, 0.5, 1.05)


def _broom(pen: Pen) -> None:
    pen.box(-0.09, -1, 0.09, 0.2)
    pen.polygon([(-0.2, 0.1), (0.2, 0.1), (0.65, 1), (-0.65, 1)])
    for x in (-0.27, 0, 0.27):
        pen.polygon([(x - 0.04, 1.05), (x + 0.04, 1.05), (x * 0.45, 0.45)], erase=True)


_LIMB = 0.2


def _running(pen: Pen) -> None:
    pen.ellipse(0.02, -1, 0.52, -0.5)
    pen.stroke([(0.15, -0.45), (-0.1, 0.2)], 0.26)
    pen.stroke([(0.12, -0.32), (0.5, 0.0), (0.8, -0.2)], _LIMB)
    pen.stroke([(0.08, -0.32), (-0.4, -0.35), (-0.6, 0.0)], _LIMB)
    pen.stroke([(-0.1, 0.2), (0.4, 0.4), (0.3, 0.9)], _LIMB)
    pen.stroke([(-0.1, 0.2), (-0.35, 0.6), (-0.85, 0.62)], _LIMB)


def _jumping(pen: Pen) -> None:
    pen.ellipse(-0.25, -0.95, 0.25, -0.45)
    pen.stroke([(0, -0.4), (0, 0.15)], 0.26)
    pen.stroke([(-0.75, -0.85), (0, -0.28), (0.75, -0.85)], _LIMB)
    pen.stroke([(-0.7, 0.5), (-0.35, 0.3), (0, 0.15), (0.35, 0.3), (0.7, 0.5)], _LIMB)
    pen.box(-0.6, 0.85, 0.6, 0.95)  # its shadow, a gap below


def _waving(pen: Pen) -> None:
    pen.ellipse(-0.25, -0.95, 0.25, -0.45)
    pen.stroke([(0, -0.4), (0, 0.25)], 0.28)
    pen.stroke([(0, -0.28), (0.5, -0.3), (0.65, -0.85)], _LIMB)
    pen.stroke([(0, -0.28), (-0.35, 0.2)], _LIMB)
    pen.stroke([(-0.3, 0.92), (0, 0.25), (0.3, 0.92)], _LIMB)


def _sitting(pen: Pen) -> None:
    pen.ellipse(-0.5, -0.95, 0.0, -0.45)
    pen.stroke([(-0.28, -0.38), (-0.28, 0.25)], 0.28)
    pen.stroke([(-0.25, -0.25), (0.25, 0.0)], _LIMB)
    pen.stroke([(-0.25, 0.28), (0.4, 0.28), (0.4, 0.9)], 0.22)
    pen.box(-0.6, 0.42, 0.15, 0.92)


def _sleeping(pen: Pen) -> None:
    pen.ellipse(-0.95, 0.05, -0.45, 0.55)
    pen.stroke([(-0.35, 0.38), (0.9, 0.38)], 0.36)
    pen.box(-1, 0.68, 1, 0.85)
    for x, y, r in ((-0.3, -0.25, 0.13), (0.1, -0.65, 0.18)):
        pen.stroke([(x - r, y - r), (x + r, y - r), (x - r, y + r), (x + r, y + r)], 0.1)


def _arrow(pen: Pen) -> None:
    pen.polygon([(-1, -0.24), (0.1, -0.24), (0.1, -0.7), (1, 0), (0.1, 0.7), (0.1, 0.24), (-1, 0.24)])


def _speed(pen: Pen) -> None:
    for y, start in ((-0.6, -0.5), (0, -1), (0.6, -0.5)):
        pen.stroke([(start + 0.1, y), (0.9, y)], 0.2)


GLYPHS: dict[str, Callable[[Pen], None]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "cross": _cross,
    "moon": _moon,
    "ring": _ring,
    "hammer": _hammer,
    "key": _key,
    "cup": _cup,
    "knife": _knife,
    "pencil": _pencil,
    "chair": _chair,
    "lamp": _lamp,
    "broom": _broom,
    "running": _running,
    "jumping": _jumping,
    "waving": _waving,
    "sitting": _sitting,
    "sleeping": _sleeping,
    "arrow": _arrow,
    "speed": _speed,
}
"""By name. The arrow points right; speed lines trail something that flies right."""
