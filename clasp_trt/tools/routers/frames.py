"""What a question is without the words that filled its template: its frame.

Two phrasings are the same if some fillings of theirs have equal frames, however differently they were written down.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from clasp_trt.runtime.routing.features import words_of
from clasp_trt.tools.evaluate.scoring import normalise
from clasp_trt.tools.routers.phrases import plural

HOLE = "_"


class Frames:
    """The frames of questions whose templates have these ``slots``."""

    def __init__(self, slots: Mapping[str, Sequence[str]]) -> None:
        words = [word for fillings in slots.values() for word in fillings if not re.search(r"[{(|]", word)]
        self._fillings = {tuple(_words(form)) for word in words for form in (word, plural(word))}
        self._longest = max(map(len, self._fillings), default=0)

    def of(self, question: str) -> str:
        """``question`` without case, articles and signs, each filling of a slot a hole; neighbouring holes are one."""
        words, frame = _words(question), [""]
        at = 0
        while at < len(words):
            found = next((n for n in range(self._longest, 0, -1) if tuple(words[at : at + n]) in self._fillings), 0)
            word = HOLE if found else words[at]
            if word != HOLE or frame[-1] != HOLE:
                frame.append(word)
            at += max(1, found)
        return " ".join(frame[1:])


def _words(text: str) -> list[str]:
    return words_of(normalise(text))
