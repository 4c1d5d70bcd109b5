"""A picture of what was kept: one panel a stage, pivots framed blue, medoids red, dropped tokens faded to grey."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from math import ceil, sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from clasp_trt.methods import DEFAULT, Method
from clasp_trt.runtime.result import Kept
from clasp_trt.schedule import Schedule
from clasp_trt.storage import files

if TYPE_CHECKING:
    from clasp_trt.runtime.media.clip import Clip
    from clasp_trt.runtime.media.seen import Seen
    from clasp_trt.runtime.pipeline import Pipeline
    from clasp_trt.runtime.result import Result

PIVOT, MEDOID, TOWER = (38, 103, 255), (235, 52, 52), (32, 140, 80)
FORMATS = (".png", ".jpg", ".jpeg", ".webp")

_PANEL = 448  # pixels of the longer side, about
_STEP, _BETWEEN = 168, 8  # the same of a step of a clip, and pixels between two
_MIN_CELL = 6  # a frame of one pixel around some of the view
_MARGIN, _GAP, _LINE = 20, 16, 24
_TITLE_SIZE, _TEXT_SIZE = 20, 16
_INK, _GREY, _PAPER = (20, 20, 20), (110, 110, 110), (255, 255, 255)
_FADE, _TINT = 0.7, 0.18
_REST = {True: ("medoid", "stands for tokens that pivots leave out"), False: ("other", "kept for another reason")}


def overlay(
    seen: Sequence[Seen],
    result: Result,
    schedule: Schedule,
    method: Method = DEFAULT,
    steps: Sequence[Seen] = (),
) -> Image.Image:
    """Draws what every stage kept over what the model saw, a row of panels for each picture of the request, and of a
    clip, whose ``steps`` come after them, a row of all steps for each stage.

    ``schedule`` is the bundle's, ``method`` what chose the tokens. Returns an RGB image: a title, a panel of each whole
    view, a panel for each stage with its caption, and a legend if anything was pruned.
    """
    rest, reason = _REST[method.completes]
    rows, start = list[list[_Panel]](), 0
    for number, each in enumerate(seen, start=1):
        name = "what the model sees" if len(seen) == 1 and not steps else f"picture {number}"
        rows.append(_row(each, name, start, result.kept, rest))
        start += len(each.boxes)
    rows += _strips(steps, start, result.kept, rest) if steps else []
    text, title = ImageFont.load_default(_TEXT_SIZE), ImageFont.load_default(_TITLE_SIZE)
    top = _MARGIN + 2 * _LINE + _GAP
    width = max(2 * _MARGIN + len(row) * (row[0].picture.width + _GAP) - _GAP for row in rows)
    height = top + sum(row[0].picture.height + 2 * _LINE + _GAP for row in rows)
    sheet = Image.new("RGB", (width, height + (_LINE + _GAP if result.kept else 0)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    by = "" if method is DEFAULT else f", by {method.name}"
    draw.text((_MARGIN, _MARGIN), f"{result.category}{by}", _INK, title)
    draw.text((_MARGIN, _MARGIN + _LINE + 4), _budget(result, schedule), _GREY, text)
    for row in rows:
        left = _MARGIN
        for picture, head, detail in row:
            sheet.paste(picture, (left, top))
            draw.text((left, top + picture.height + 6), head, _INK, text)
            draw.text((left, top + picture.height + 4 + _LINE), detail, _GREY, text)
            left += picture.width + _GAP
        top += row[0].picture.height + 2 * _LINE + _GAP
    if result.kept:
        kinds = {bool(each) for kept in result.kept if kept.tower_block is None for each in kept.is_pivot}
        meanings = ((True, PIVOT, "pivot: attended to most"), (False, MEDOID, f"{rest}: {reason}"))
        legend = tuple((colour, meaning) for kind, colour, meaning in meanings if kind in kinds)
        if any(kept.tower_block is not None for kept in result.kept):
            legend += ((TOWER, "left by the tower: most salient there"),)
        _draw_legend(draw, text, top, legend)
    return sheet


class _Panel(NamedTuple):
    """A picture with two lines below it."""

    picture: Image.Image
    head: str
    detail: str


def _row(seen: Seen, name: str, start: int, stages: Sequence[Kept], rest: str) -> list[_Panel]:
    """What the model sees, and what stages kept of its tokens, which the request counts from ``start`` on."""
    bright, boxes = panel(seen, _PANEL)
    tokens = len(boxes)
    panels = [_Panel(bright, name, f"{tokens} visual tokens")]
    for stage in stages:
        kept = _within(stage, start, tokens)
        panels.append(_Panel(draw_kept(bright, kept, boxes), *_caption(kept, tokens, rest)))
    return panels


def _within(stage: Kept, start: int, tokens: int) -> Kept:
    """What is kept of ``tokens`` tokens from ``start`` on, counted from there."""
    own = (stage.indices >= start) & (stage.indices < start + tokens)
    return replace(stage, indices=stage.indices[own] - start, is_pivot=stage.is_pivot[own])


def _strips(steps: Sequence[Seen], start: int, stages: Sequence[Kept], rest: str) -> list[list[_Panel]]:
    """A row for what the model sees of a clip, and one for each stage, of one wide panel of all steps."""
    drawn = [panel(each, _STEP) for each in steps]
    tokens = sum(len(boxes) for _, boxes in drawn)
    said = f"{tokens} visual tokens of {_count(len(steps), 'step')}"
    rows = [[_Panel(_mosaic([bright for bright, _ in drawn]), "what the model sees of the clip", said)]]
    for stage in stages:
        pictures, first = list[Image.Image](), start
        for bright, boxes in drawn:
            pictures.append(draw_kept(bright, _within(stage, first, len(boxes)), boxes))
            first += len(boxes)
        rows.append([_Panel(_mosaic(pictures), *_caption(_within(stage, start, tokens), tokens, rest))])
    return rows


def _mosaic(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures from left to right, in lines of up to eight, or of more where that would be many lines."""
    lines = ceil(len(pictures) / max(8, ceil(sqrt(2 * len(pictures)))))
    columns = ceil(len(pictures) / lines)
    wide, tall = (max(sides) + _BETWEEN for sides in zip(*(each.size for each in pictures), strict=True))
    sheet = Image.new("RGB", (columns * wide - _BETWEEN, lines * tall - _BETWEEN), _PAPER)
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number % columns * wide, number // columns * tall))
    return sheet


def panel(seen: Seen, size: int) -> tuple[Image.Image, NDArray[np.int64]]:
    """The view in RGB, its longer side about ``size`` pixels, and the box of every token in it.

    The view is scaled so that the smallest token is a whole number of pixels wide, at least 6, and cells are crisp.
    Boxes are int64 ``[tokens, 4]``; that of a token without a place is empty.
    """
    boxes = np.nan_to_num(seen.boxes.astype(np.float64))
    sides = boxes[:, 2:] - boxes[:, :2]
    least = float(sides[sides > 0].min(initial=max(seen.view.size)))
    scale = max(_MIN_CELL, round(size / round(max(seen.view.size) / least))) / least
    shape = round(seen.view.width * scale), round(seen.view.height * scale)
    bright = seen.view.convert("RGB").resize(shape, Image.Resampling.LANCZOS)
    return bright, np.rint(boxes * scale).astype(np.int64)


def draw_kept(bright: Image.Image, kept: Kept, boxes: NDArray[np.int64]) -> Image.Image:
    """One stage's picture: dropped tokens faded, kept ones tinted and framed in the colour of their kind.

    ``bright`` and ``boxes`` are those of :func:`panel`.
    """
    sheet = Image.blend(bright.convert("L").convert("RGB"), Image.new("RGB", bright.size, _PAPER), _FADE)
    draw = ImageDraw.Draw(sheet)
    for (left, top, right, bottom), is_pivot in zip(boxes[kept.indices].tolist(), kept.is_pivot.tolist(), strict=True):
        if right == left:
            continue  # it stands for no place
        colour = TOWER if kept.tower_block is not None else PIVOT if is_pivot else MEDOID
        part = bright.crop((left, top, right, bottom))
        sheet.paste(Image.blend(part, Image.new("RGB", part.size, colour), _TINT), (left, top))
        frame = max(1, round(min(part.size) / 10))
        draw.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=frame)
    return sheet


def check_destination(path: str | os.PathLike[str]) -> None:
    """Raises :class:`OutputError` where :func:`save_overlay` could not write; cheap enough to ask before the work."""
    files.check(path, FORMATS)


def save_overlay(
    path: str | os.PathLike[str],
    images: Sequence[Image.Image],
    result: Result,
    pipeline: Pipeline,
    clip: Clip | None = None,
) -> None:
    """Writes :func:`overlay` for a request about ``images``, and a ``clip`` after them, to ``path``, whole or not at
    all.

    Raises :class:`OutputError` if that fails.
    """
    seen = [pipeline.see(image, several=len(images) > 1) for image in images]
    steps = () if clip is None else pipeline.film(clip).steps
    save_picture(path, overlay(seen, result, pipeline.bundle.manifest.schedule, pipeline.method, steps))


def save_picture(path: str | os.PathLike[str], sheet: Image.Image) -> None:
    """Writes ``sheet`` to ``path``, whole or not at all. Raises :class:`OutputError` if that fails."""
    check_destination(path)
    files.write(path, sheet.save)


def _budget(result: Result, schedule: Schedule) -> str:
    tokens = result.visual_tokens
    if not result.kept:
        return f"all {tokens} visual tokens kept"
    return f"{schedule.mean_of(tokens):.4g} of {tokens} visual tokens, averaged over {schedule.layers} layers"


def _caption(kept: Kept, tokens: int, rest: str) -> tuple[str, str]:
    pivots, count = int(kept.is_pivot.sum()), len(kept.indices)
    if kept.tower_block is not None:
        return kept.place, f"{count} of {tokens}"
    parts = [_count(number, noun) for number, noun in ((pivots, "pivot"), (count - pivots, rest)) if number]
    return kept.place, f"{count} of {tokens}{': ' if parts else ''}{', '.join(parts)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _draw_legend(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    top: int,
    legend: tuple[tuple[tuple[int, int, int], str], ...],
) -> None:
    left = float(_MARGIN)
    for colour, words in legend:
        draw.rectangle((left, top + 2, left + 15, top + 17), fill=colour)
        draw.text((left + 24, top), words, _INK, font)
        left += 24 + draw.textlength(words, font) + 2 * _GAP
