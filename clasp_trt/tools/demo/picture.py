"""The demo's picture: for each question what the model saw, what every stage kept of it, and what was answered.

It says nothing that differs between two runs of the same bundles, such as times.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from clasp_trt.runtime.overlay import MEDOID, PIVOT, draw_kept, panel
from clasp_trt.tools.demo.asking import Asked

if TYPE_CHECKING:
    from clasp_trt.runtime.media.seen import Seen
    from clasp_trt.schedule import Schedule

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_Colour = tuple[int, int, int]

# Lengths in pixels.
_VIEW, _PANEL = 480, 228
_MARGIN, _PADDING, _GAP, _LABEL = 40, 28, 14, 244
_HEAD, _CAPTION, _CARD_GAP, _FOOT = 166, 28, 24, 58
_TITLE_SIZE, _QUESTION_SIZE, _TEXT_SIZE = 44, 32, 22
_PAPER, _CARD, _INK, _GREY = (255, 255, 255), (245, 246, 248), (24, 26, 30), (106, 110, 118)
_RIGHT, _WRONG, _DROPPED = (24, 138, 74), (204, 44, 44), (206, 208, 212)

_TITLE = "What each question keeps of its picture"
_LEGEND = (
    (PIVOT, "pivot: the question attends to it"),
    (MEDOID, "completion: stands for what pivots leave out"),
    (_DROPPED, "dropped"),
)


def draw(model: str, schedules: Mapping[str, Schedule], asked: Sequence[Asked]) -> Image.Image:
    """One card for each question in ``asked``, answered by bundles of the same names and order as ``schedules``.

    The first schedule is the unpruned one; all are of the same model, named ``model``, which saw all
    pictures at one size. Returns an RGB image, 1600 px wide for grids of 12 and 24 tokens squared and three stages.
    """
    layout = _Layout(list(schedules.values()), asked[0].seen)
    page = Image.new("RGB", (layout.width, layout.height(len(asked))), _PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((_MARGIN, _MARGIN - 6), _TITLE, _INK, _font(_TITLE_SIZE))
    for line, words in enumerate(_subtitle(model, layout.tokens)):
        pen.text((_MARGIN, _MARGIN + 54 + 30 * line), words, _GREY, _font(_TEXT_SIZE))
    for number, each in enumerate(asked):
        _draw_card(page, layout, _HEAD + number * (layout.card + _CARD_GAP), each, schedules)
    _draw_legend(pen, layout.height(len(asked)) - _FOOT + 10)
    return page


class _Layout:
    """Where things stand, from what the model saw and the numbers of bundles and stages."""

    def __init__(self, schedules: Sequence[Schedule], seen: Seen) -> None:
        self.tokens = len(seen.boxes)
        self.view, self.panel = (max(panel(seen, size)[0].size) for size in (_VIEW, _PANEL))
        stages = max(len(schedule.stages) for schedule in schedules)
        self.labels = _MARGIN + _PADDING + self.view + 2 * _GAP
        self.panels = self.labels + _LABEL
        self.row = self.panel + _CAPTION + _GAP
        self.width = self.panels + stages * (self.panel + _GAP) - _GAP + _PADDING + _MARGIN
        rows = (len(schedules) - 1) * self.row - _GAP
        self.card = 2 * _PADDING + _QUESTION_SIZE + 2 * _GAP + max(self.view + _GAP + _QUESTION_SIZE, rows)

    def height(self, cards: int) -> int:
        return _HEAD + cards * (self.card + _CARD_GAP) + _FOOT


def _subtitle(model: str, tokens: int) -> tuple[str, str]:
    return (
        f"{model} sees a picture as {tokens} visual tokens. Stages inside the decoder drop most of them:",
        "they keep those that the question attends to, and complete them with a few that stand for the rest.",
    )


def _draw_card(page: Image.Image, layout: _Layout, top: int, asked: Asked, schedules: Mapping[str, Schedule]) -> None:
    """A question: its text, its picture with the unpruned answer, and a row for each pruned bundle."""
    pen = ImageDraw.Draw(page)
    pen.rounded_rectangle((_MARGIN, top, layout.width - _MARGIN, top + layout.card), 16, _CARD)
    left, top = _MARGIN + _PADDING, top + _PADDING
    category = asked.row.category or ""
    right = layout.width - _MARGIN - _PADDING
    room = right - left - pen.textlength(category, _font(_TEXT_SIZE)) - 2 * _GAP
    question = _fitting(pen, asked.row.prompt, _font(_QUESTION_SIZE), room)
    pen.text((left, top - 4), question, _INK, _font(_QUESTION_SIZE))
    pen.text((right, top + 6), category, _GREY, _font(_TEXT_SIZE), anchor="ra")
    top += _QUESTION_SIZE + 2 * _GAP
    unpruned, *pruned = schedules
    page.paste(panel(asked.seen, _VIEW)[0], (left, top))
    for number, name in enumerate(pruned):
        _draw_row(page, layout, top + number * layout.row, asked, name, schedules[name])
    below, label = top + layout.view + _GAP, f"all {layout.tokens} tokens"
    pen.text((left, below + 6), label, _GREY, _font(_TEXT_SIZE))
    beside = round(pen.textlength(label, _font(_TEXT_SIZE))) + 2 * _GAP
    _draw_answer(pen, (left + beside, below), layout.view - beside, asked, unpruned)


def _draw_row(page: Image.Image, layout: _Layout, top: int, asked: Asked, name: str, schedule: Schedule) -> None:
    """What one bundle kept at each stage, and its answer."""
    pen = ImageDraw.Draw(page)
    bright, boxes = panel(asked.seen, _PANEL)
    for number, stage in enumerate(asked.results[name].kept):
        left = layout.panels + number * (layout.panel + _GAP)
        page.paste(draw_kept(bright, stage, boxes), (left, top))
        caption = f"{len(stage.indices)} after layer {stage.after_layer}"
        pen.text((left, top + layout.panel + 4), caption, _GREY, _font(_TEXT_SIZE - 3))
    pen.text((layout.labels, top), f"{schedule.mean_tokens:.0f} tokens on average", _GREY, _font(_TEXT_SIZE))
    _draw_answer(pen, (layout.labels, top + _TEXT_SIZE + _GAP), _LABEL - _GAP, asked, name)


def _draw_answer(pen: ImageDraw.ImageDraw, corner: tuple[int, int], width: int, asked: Asked, name: str) -> None:
    """A bundle's answer on at most ``width`` pixels, and whether it is right."""
    (left, top), font = corner, _font(_QUESTION_SIZE)
    words = _fitting(pen, asked.results[name].text, font, width - 40)
    pen.text((left, top), words, _INK, font)
    _draw_mark(pen, (round(left + pen.textlength(words, font)) + 12, top + 5), asked.right(name))


def _draw_mark(pen: ImageDraw.ImageDraw, corner: tuple[int, int], right: bool) -> None:
    """A tick or a cross, 26 px high; drawn, because fonts need not have them."""
    left, top = corner
    if right:
        pen.line([(left, top + 14), (left + 9, top + 23), (left + 25, top + 3)], _RIGHT, 5, "curve")
    else:
        pen.line([(left + 2, top + 4), (left + 21, top + 23)], _WRONG, 5)
        pen.line([(left + 21, top + 4), (left + 2, top + 23)], _WRONG, 5)


def _draw_legend(pen: ImageDraw.ImageDraw, top: int) -> None:
    left = float(_MARGIN)
    for colour, words in _LEGEND:
        pen.rectangle((left, top + 3, left + 19, top + 22), fill=colour)
        pen.text((left + 30, top), words, _INK, _font(_TEXT_SIZE))
        left += 30 + pen.textlength(words, _font(_TEXT_SIZE)) + 36


def _fitting(pen: ImageDraw.ImageDraw, text: str, font: _Font, width: float) -> str:
    """``text`` on one line of at most ``width`` pixels, cut where it must be."""
    line = " ".join(text.split())
    if pen.textlength(line, font) <= width:
        return line
    cut = bisect_right(range(len(line)), width, key=lambda count: pen.textlength(f"{line[:count]}...", font)) - 1
    return f"{line[: max(0, cut)]}..."


@cache
def _font(size: int) -> _Font:
    return ImageFont.load_default(size)
