"""A scene to a picture."""

from __future__ import annotations

from PIL import Image

from examples.shapesvqa.backgrounds import background
from examples.shapesvqa.scene import REFERENCE, STEP, TRAIL, Place, Scene
from examples.shapesvqa.sprites import glyph, plate

ARROW, PERSON, TOOL = 28, 31, 29
"""Diameters, reference px."""


def render(scene: Scene, size: int = REFERENCE) -> Image.Image:
    """The picture of a scene, RGB [size, size]; the same pixels for the same scene, size and Pillow."""
    image = background(scene.place, scene.night, scene.variant, size).copy()
    scale = size / REFERENCE

    def put(sprite: Image.Image, at: Place, dx: float = 0, dy: float = 0) -> None:
        """Pastes a sprite with its center there, moved by reference px, and never beyond the edges."""
        left, top = ((at.x + dx) * scale - sprite.width / 2, (at.y + dy) * scale - sprite.height / 2)
        corner = (_within(left, size - sprite.width), _within(top, size - sprite.height))
        image.paste(sprite, corner, sprite)

    for shape in scene.shapes:
        diameter = max(1, round(shape.diameter * scale))
        put(glyph(shape.kind, shape.colour, shape.texture, diameter), shape.at)
        if shape.motion:
            away, (dx, dy) = (shape.diameter + TRAIL) / 2 + 1, STEP[shape.motion]
            lines = glyph("speed", "white", "plain", max(1, round(TRAIL * scale)), shape.motion)
            put(lines, shape.at, -dx * away, -dy * away)
    if scene.arrow:
        arrow = scene.arrow
        put(glyph("arrow", arrow.colour, "plain", round(ARROW * scale), arrow.direction), arrow.at)
    if scene.person:
        person = scene.person
        sprite = glyph(person.action, person.colour, "plain", round(PERSON * scale), mirrored=person.mirrored)
        put(sprite, person.at)
    if scene.tool:
        put(glyph(scene.tool.kind, scene.tool.colour, "plain", round(TOOL * scale)), scene.tool.at)
    if scene.sign:
        put(plate(scene.sign.text, scene.sign.colour, round(scene.sign.height * scale)), scene.sign.at)
    return image


def _within(start: float, most: int) -> int:
    return max(0, min(round(start), most))
