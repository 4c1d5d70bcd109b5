"""What each of the paper's categories is for, in a line: the short form of the labelling guide."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from clasp_trt.errors import DataError
from clasp_trt.policy import CATEGORY_NAMES
from clasp_trt.storage.fields import Format
from clasp_trt.storage.lines import json_lines

_FORMAT = Format(DataError, DataError, "expected JSON lines with category and definition")

_LINES = (
    "What is it? One thing, or a list of things, is asked for by name, wherever it stands and whatever is done with "
    "it; identity is asked or confirmed.",
    "What is it like? Colour, material, shape, size, age, state, pattern, clothes, expression; the variety within a "
    "kind, such as a breed.",
    "What is to be read? Letters, numbers, signs, logos, brands, titles, prices, clocks, displays, symbols, charts.",
    "What sort of picture or place is it, and is something there at all? Presence, place, weather, season, time of "
    "day, event.",
    "Where is it? Sides, order, distance, whether it stands on, under, behind or between, which one stands there, "
    "orientation, maps.",
    "How many? Numbers of things that are seen, exact or compared.",
    "What is going on? What somebody does or plays, who does it; poses, gestures, motion, how people deal with each "
    "other.",
    "What for, why, what next? Use, purpose, reason, intention, what will or would happen, suitability.",
    "None of the others, or several at once: descriptions, knowledge, arithmetic, code, writing, small talk, orders.",
)

DEFINITIONS: Mapping[str, str] = dict(zip(CATEGORY_NAMES, _LINES, strict=True))


def read_definitions(path: str | os.PathLike[str], names: Sequence[str]) -> dict[str, str]:
    """The definitions of a user's own categories: JSON lines ``{"category": ..., "definition": ...}``.

    Raises :class:`DataError` for a category that is none of ``names``, or one that is defined twice.
    """
    found: dict[str, str] = {}
    for _, item in json_lines(path, _FORMAT):
        of = item.open_record("category", "definition")
        category = of["category"].prose()
        if category not in names or category in found:
            fault = "is defined twice" if category in found else f"is none of {', '.join(names)}"
            raise DataError(f"{item.source}: category {category!r} {fault}; expected one line for each category")
        found[category] = " ".join(of["definition"].prose().split())
    return found
