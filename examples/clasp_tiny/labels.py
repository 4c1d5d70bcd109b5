"""What the training looks at beside the answers: what stands in each patch, and what the picture holds as a whole.

A language-model loss alone gives a tower of this size neither sharp patches nor a [CLS] token that sums the picture up;
small heads that read these labels do. The heads are thrown away after training.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from examples.clasp_tiny.architecture import PATCH, SIDE
from examples.shapesvqa import draw, scene
from examples.shapesvqa.scene import Scene

_TEXTS = tuple(text for texts in scene.TEXTS.values() for text in texts)
WHAT = ("nothing", *scene.KINDS, *scene.TOOLS, *(f"person {a}" for a in scene.ACTIONS), "arrow", *_TEXTS)
"""What can stand in a patch: a kind of shape or tool, a person in a pose, an arrow, or a sign with its text."""

PATCH_CLASSES: dict[str, int] = {
    "what": len(WHAT),
    "colour": 1 + len(scene.COLOURS),
    "texture": 1 + len(scene.TEXTURES),
    "size": 4,
    "direction": 1 + len(scene.DIRECTIONS),
    "pointed": 2,
    "row": SIDE,
    "column": SIDE,
}
"""Labels of each patch and their number of classes; class 0 of all but the last two is "nothing here"."""

PICTURE_CLASSES: dict[str, int] = {
    "place": len(scene.PLACES),
    "night": 2,
    "tool": 1 + len(scene.TOOLS),
    "person": 1 + len(scene.ACTIONS),
    "shapes": 10,
    **{f"count {name}": 8 for name in (*scene.KINDS, *scene.COLOURS)},
}
"""Labels of a picture, read from [CLS]; counts are of shapes, with 7 standing for all above."""

_ROWS, _COLUMNS = np.divmod(np.arange(SIDE * SIDE), SIDE)


@dataclass(frozen=True)
class Labels:
    """Labels of one picture.

    Attributes:
        patches: int64 [labels, patches], in the order of PATCH_CLASSES.
        picture: int64 [labels], in the order of PICTURE_CLASSES.
        thing: int64 [patches], which thing of the picture stands there, -1 for none.
    """

    patches: NDArray[np.int64]
    picture: NDArray[np.int64]
    thing: NDArray[np.int64]


def label(scene_: Scene) -> Labels:
    """The labels of a scene. A patch belongs to the thing whose bounding box holds the patch's center."""
    patches = np.zeros((len(PATCH_CLASSES), SIDE * SIDE), dtype=np.int64)
    thing = np.full(SIDE * SIDE, -1, dtype=np.int64)
    names = list(PATCH_CLASSES)

    def put(at: scene.Place, width: float, height: float, **values: int) -> None:
        x, y = (_COLUMNS + 0.5) * PATCH, (_ROWS + 0.5) * PATCH
        inside = (np.abs(x - at.x) <= width / 2) & (np.abs(y - at.y) <= height / 2)
        thing[inside] = thing.max() + 1
        for name, value in values.items():
            patches[names.index(name), inside] = value

    for index, shape in enumerate(scene_.shapes):
        put(
            shape.at,
            shape.diameter,
            shape.diameter,
            what=WHAT.index(shape.kind),
            colour=1 + scene.COLOURS.index(shape.colour),
            texture=1 + scene.TEXTURES.index(shape.texture),
            size=3 if shape.hero else 2 if shape.diameter >= scene.BIG[0] else 1,
            direction=1 + scene.DIRECTIONS.index(shape.motion) if shape.motion else 0,
            pointed=int(scene_.arrow is not None and scene_.arrow.target == index),
        )
    if scene_.tool:
        tool = scene_.tool
        put(tool.at, draw.TOOL, draw.TOOL, what=WHAT.index(tool.kind), colour=1 + scene.COLOURS.index(tool.colour))
    if scene_.person:
        person = scene_.person
        what, colour = WHAT.index(f"person {person.action}"), 1 + scene.COLOURS.index(person.colour)
        put(person.at, draw.PERSON, draw.PERSON, what=what, colour=colour)
    if scene_.arrow:
        arrow = scene_.arrow
        direction, colour = 1 + scene.DIRECTIONS.index(arrow.direction), 1 + scene.COLOURS.index(arrow.colour)
        put(arrow.at, draw.ARROW, draw.ARROW, what=WHAT.index("arrow"), colour=colour, direction=direction)
    if scene_.sign:
        sign = scene_.sign
        width = 30 if sign.form == "word" else 16
        put(sign.at, width, 16, what=WHAT.index(sign.text), colour=1 + scene.COLOURS.index(sign.colour))
    patches[names.index("row")], patches[names.index("column")] = _ROWS, _COLUMNS
    return Labels(patches, _picture(scene_), thing)


def _picture(scene_: Scene) -> NDArray[np.int64]:
    counts = Counter(shape.kind for shape in scene_.shapes) + Counter(shape.colour for shape in scene_.shapes)
    values = [
        scene.PLACES.index(scene_.place),
        int(scene_.night),
        1 + scene.TOOLS.index(scene_.tool.kind) if scene_.tool else 0,
        1 + scene.ACTIONS.index(scene_.person.action) if scene_.person else 0,
        min(len(scene_.shapes), 9),
        *(min(counts[name], 7) for name in (*scene.KINDS, *scene.COLOURS)),
    ]
    return np.array(values, dtype=np.int64)
