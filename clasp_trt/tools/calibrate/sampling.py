"""Which questions are asked: as many in each category, balanced over answers, none of a held-out picture in the search.

Every draw is a hash of the seed and of what is drawn, so it is the same on every machine and Python.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clasp_trt.tools.evaluate.dataset import Row, linked
from clasp_trt.tools.evaluate.scoring import normalise


@dataclass(frozen=True)
class Sample:
    """The questions of one category. In either part, any first so many are as balanced as they can be."""

    search: tuple[Row, ...]
    held_out: tuple[Row, ...]


def sample(
    rows: Sequence[tuple[str, Row]], categories: Sequence[str], *, questions: int, held_out: int, seed: int
) -> dict[str, Sample]:
    """For each of ``categories`` up to ``questions`` rows to search on and up to ``held_out`` others to check on.

    ``rows`` come with their category. Pictures are divided first, in the proportion of the two numbers, and all
    questions about a picture go with it.
    """
    stands = linked(row for _, row in rows)
    pictures = list(dict.fromkeys(stands))
    drawn = sorted(range(len(pictures)), key=lambda number: _draw(seed, "picture", number))
    aside = {pictures[number] for number in drawn[: len(pictures) * held_out // (questions + held_out)]}
    of: dict[str, list[tuple[Path, Row]]] = {category: [] for category in categories}
    for (category, row), picture in zip(rows, stands, strict=True):
        of[category].append((picture, row))
    return {category: _parts(of[category], aside, questions, held_out, seed) for category in categories}


def _parts(rows: Sequence[tuple[Path, Row]], aside: set[Path], questions: int, held_out: int, seed: int) -> Sample:
    return Sample(
        search=_balanced([row for picture, row in rows if picture not in aside], seed)[:questions],
        held_out=_balanced([row for picture, row in rows if picture in aside], seed)[:held_out],
    )


def _balanced(rows: Sequence[Row], seed: int) -> tuple[Row, ...]:
    """One row of each answer in a drawn order, then another of each, until all have come."""
    answers: dict[str, list[Row]] = defaultdict(list)
    drawn = {row.line: _draw(seed, "question", row.line) for row in rows}
    for row in sorted(rows, key=lambda row: drawn[row.line]):
        answers[normalise(row.answer)].append(row)
    turns = [(turn, drawn[row.line], row) for same in answers.values() for turn, row in enumerate(same)]
    return tuple(row for *_, row in sorted(turns, key=lambda turn: turn[:2]))


def _draw(seed: int, kind: str, number: int) -> bytes:
    return hashlib.sha256(f"{seed} {kind} {number}".encode()).digest()
