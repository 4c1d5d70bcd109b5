"""The answers of a calibration that may be interrupted, in a file beside its output.

Each line ``[category, candidate, line, right]`` of the journal (:mod:`clasp_trt.storage.journal`) is one answer: for
which row of the policy, by which candidate for it, to the question on which line of the data, and whether it was
right (1) or not (0).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from clasp_trt.storage.fields import Field
from clasp_trt.storage.journal import Lines, Work, open_lines

_WORK = Work("clasp-trt calibrate", "add --restart to begin anew, or choose another output")

Key = tuple[int, int, int]
"""Category and candidate by number, and line of the question."""


class Journal:
    """Answers by key. Made by :func:`open_journal`."""

    def __init__(self, lines: Lines[tuple[Key, bool]]) -> None:
        self._lines, self._answers = lines, dict(lines.found)

    def ask(self, key: Key, answer: Callable[[], bool]) -> bool:
        """The answer that is known, or that of ``answer``, which is on disk before this returns."""
        if key not in self._answers:
            right = answer()
            self._lines.add([*key, int(right)])
            self._answers[key] = right
        return self._answers[key]


@contextmanager
def open_journal(path: Path, inputs: Mapping[str, str], *, restart: bool = False) -> Iterator[Journal]:
    """The journal at ``path`` for the block; see :func:`clasp_trt.storage.journal.open_lines`."""
    with open_lines(path, inputs, _answer, _WORK, restart=restart) as lines:
        yield Journal(lines)


def _answer(line: Field) -> tuple[Key, bool]:
    numbers = line.elements()
    if len(numbers) != 4:
        line.fail("category, candidate, line and whether it was right")
    category, candidate, number, right = (item.integer(0) for item in numbers)
    return (category, candidate, number), bool(right)
