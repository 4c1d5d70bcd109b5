"""What stands in a picture, before anything is drawn or asked: a scene, made from one seed.

Lengths are in reference pixels, those of a picture 144 px wide; the drawing scales them. Things stand in the
cells of a 4 x 4 grid of 36 px, with jitter. Whatever a question may ask for is drawn uniformly and independently of
the words that ask for it (which kind, which colour), so that no question gives its answer away; where a natural
scene would be lopsided (how many, whether two colours agree) the answer is drawn first and the scene built for it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

REFERENCE = 144
"""Width and height of the reference picture, px."""

GRID = 4
CELL = REFERENCE // GRID

KINDS = ("circle", "square", "triangle", "star", "heart", "cross", "moon", "ring")
COLOURS = ("red", "yellow", "green", "blue", "purple", "pink", "white", "black")
TEXTURES = ("plain", "striped", "dotted", "checked")
PLACES = ("beach", "forest", "city", "snow", "sea", "desert")
DIRECTIONS = ("left", "right", "up", "down")
ACTIONS = ("running", "jumping", "waving", "sitting", "sleeping")
FUNCTIONS = {
    "hammer": "building",
    "key": "opening",
    "cup": "drinking",
    "knife": "cutting",
    "pencil": "writing",
    "chair": "sitting",
    "lamp": "lighting",
    "broom": "sweeping",
}
TOOLS = tuple(FUNCTIONS)
DIGITS = tuple("0123456789")
LETTERS = tuple("EFHKLNPRTXYZ")  # no A (the article), no I (the pronoun), nothing that looks like a digit
WORDS = ("stop", "open", "exit", "taxi", "cafe", "bank", "park", "farm", "milk", "zoo")
TEXTS = {"digit": DIGITS, "letter": LETTERS, "word": WORDS}

COUNT_MODES = ("kind", "colour", "all")
COUNTS = {"kind": (1, 6), "colour": (1, 6), "all": (3, 8)}
"""Least and greatest answer of a counting question, by what is counted."""

STEP = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
"""Direction to a step (column, row)."""


@dataclass(frozen=True)
class Place:
    """Where something stands.

    Attributes:
        x, y: center, reference px.
        cell: (column, row) of the grid, the upper left one of four for the hero.
    """

    x: float
    y: float
    cell: tuple[int, int]


@dataclass(frozen=True)
class Shape:
    """A coloured shape.

    Attributes:
        diameter: reference px.
        motion: the direction in which speed lines show it to fly, if any.
        hero: it fills four cells.
    """

    kind: str
    colour: str
    texture: str
    diameter: int
    at: Place
    motion: str | None = None
    hero: bool = False


@dataclass(frozen=True)
class Sign:
    """A plate with a digit, a letter or a short word; ``form`` says which, ``height`` is that of the font, px."""

    text: str
    form: str
    colour: str
    height: int
    at: Place


@dataclass(frozen=True)
class Arrow:
    """An arrow that points at the shape in the next cell; ``target`` indexes ``Scene.shapes``."""

    direction: str
    target: int
    colour: str
    at: Place


@dataclass(frozen=True)
class Person:
    """A figure in the pose of an action, mirrored or not."""

    action: str
    colour: str
    mirrored: bool
    at: Place


@dataclass(frozen=True)
class Tool:
    """An everyday thing with a use."""

    kind: str
    colour: str
    at: Place


@dataclass(frozen=True)
class Count:
    """What this scene can be asked to count.

    Attributes:
        mode: one of COUNT_MODES.
        subject: the kind or the colour counted; empty for all shapes.
        number: the answer, uniform over COUNTS[mode].
    """

    mode: str
    subject: str
    number: int


@dataclass(frozen=True)
class Scene:
    """A picture's content.

    Attributes:
        variant: which of the drawn backgrounds of its place.
        shapes: the first SINGLES have kinds of their own, found nowhere else in the scene.
    """

    place: str
    night: bool
    variant: int
    shapes: tuple[Shape, ...]
    count: Count
    sign: Sign | None
    arrow: Arrow | None
    person: Person | None
    tool: Tool | None

    @property
    def singles(self) -> tuple[Shape, ...]:
        """The shapes that a question may call by their kind alone."""
        return self.shapes[:SINGLES]


SINGLES = 3
VARIANTS = 12
SMALL = (13, 16)
BIG = (25, 29)
HERO = (50, 60)
TRAIL = 10
"""Length of speed lines, reference px; their shape stands off its cell's center to leave them room."""


def make_scene(seed: int) -> Scene:
    """The scene of a seed: the same on every machine and Python."""
    rng = random.Random(f"shapesvqa scene {seed}")
    kinds = rng.sample(KINDS, SINGLES)
    count, group = _count(rng, [kind for kind in KINDS if kind not in kinds])
    colours = _single_colours(rng, [c for c in COLOURS if count.mode != "colour" or c != count.subject])
    has_hero, has_arrow, has_person = (rng.random() < 0.5 for _ in range(3))
    has_sign, has_tool, has_motion = (rng.random() < 0.8 for _ in range(3))

    floor = _Floor(rng)
    where: dict[int, Place] = {}
    if has_hero:
        where[0] = floor.block()
    arrow: Arrow | None = None
    if has_arrow:
        direction, target = rng.choice(DIRECTIONS), rng.randint(1, SINGLES - 1)
        tail, where[target] = floor.pair(direction)
        arrow = Arrow(direction, target, rng.choice(COLOURS), tail)
    mover = rng.randint(1, SINGLES - 1) if has_motion else None

    shapes = []
    for index, (kind, colour) in enumerate([*zip(kinds, colours, strict=True), *group]):
        hero = has_hero and index == 0
        big = rng.random() < 0.5
        diameter = rng.randint(*(HERO if hero else BIG if big else SMALL))
        texture = rng.choice(TEXTURES) if hero or big else "plain"  # nobody can tell a pattern on 14 px
        motion = rng.choice(DIRECTIONS) if index == mover else None
        at = where[index] if index in where else floor.cell(CELL - diameter if motion is None else 0)
        if motion:
            diameter = min(diameter, BIG[0])
            dx, dy = STEP[motion]
            at = Place(at.x + dx * TRAIL / 2, at.y + dy * TRAIL / 2, at.cell)
        shapes.append(Shape(kind, colour, texture, diameter, at, motion, hero))
    return Scene(
        place=rng.choice(PLACES),
        night=rng.random() < 0.5,
        variant=rng.randrange(VARIANTS),
        shapes=tuple(shapes),
        count=count,
        sign=_sign(rng, floor) if has_sign else None,
        arrow=arrow,
        person=Person(rng.choice(ACTIONS), rng.choice(COLOURS), rng.random() < 0.5, floor.cell(4))
        if has_person
        else None,
        tool=Tool(rng.choice(TOOLS), rng.choice(COLOURS), floor.cell(6)) if has_tool else None,
    )


class _Floor:
    """The cells that are still free."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.free = [(column, row) for row in range(GRID) for column in range(GRID)]

    def block(self) -> Place:
        """Takes two by two cells."""
        column, row = self.rng.randrange(GRID - 1), self.rng.randrange(GRID - 1)
        for cell in ((column, row), (column + 1, row), (column, row + 1), (column + 1, row + 1)):
            self.free.remove(cell)
        return Place(CELL * (column + 1) + self._jitter(8), CELL * (row + 1) + self._jitter(8), (column, row))

    def pair(self, direction: str) -> tuple[Place, Place]:
        """Takes a cell and its neighbour in that direction."""
        dx, dy = STEP[direction]
        tails = [(column, row) for column, row in self.free if (column + dx, row + dy) in self.free]
        column, row = self.rng.choice(tails)
        return self._take((column, row), 4), self._take((column + dx, row + dy), 4)

    def cell(self, slack: int) -> Place:
        """Takes any cell; ``slack`` is the room left in it, px."""
        return self._take(self.rng.choice(self.free), slack)

    def _take(self, cell: tuple[int, int], slack: int) -> Place:
        self.free.remove(cell)
        slack = min(slack, 14)
        return Place(CELL * (cell[0] + 0.5) + self._jitter(slack), CELL * (cell[1] + 0.5) + self._jitter(slack), cell)

    def _jitter(self, slack: int) -> float:
        return (self.rng.random() - 0.5) * slack


def _count(rng: random.Random, kinds: list[str]) -> tuple[Count, list[tuple[str, str]]]:
    """Draws the answer first, then kinds and colours of the shapes beside the singles that make it true."""
    mode = rng.choice(COUNT_MODES)
    number = rng.randint(*COUNTS[mode])
    if mode == "all":
        group = [(rng.choice(kinds), rng.choice(COLOURS)) for _ in range(number - SINGLES)]
        return Count(mode, "", number), group
    if mode == "kind":
        kind = rng.choice(kinds)
        return Count(mode, kind, number), [(kind, rng.choice(COLOURS)) for _ in range(number)]
    colour = rng.choice(COLOURS)
    return Count(mode, colour, number), [(rng.choice(kinds), colour) for _ in range(number)]


def _single_colours(rng: random.Random, colours: list[str]) -> list[str]:
    """Colours of the singles; the last two agree in half of all scenes."""
    first, second, other = rng.choice(colours), *rng.sample(colours, 2)
    return [first, second, second if rng.random() < 0.5 else other]


def _sign(rng: random.Random, floor: _Floor) -> Sign:
    form = rng.choice(tuple(TEXTS))
    height = 12 if form == "word" else rng.randint(14, 20)
    return Sign(rng.choice(TEXTS[form]), form, rng.choice(COLOURS), height, floor.cell(2 if form == "word" else 10))
