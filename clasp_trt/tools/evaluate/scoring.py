"""Whether an answer is right: exact match, after what no reader would count as a difference is taken away."""

from __future__ import annotations

import re
import unicodedata

_ARTICLES = frozenset({"a", "an", "the"})


def normalise(text: str) -> str:
    """Folded case (NFKC), no punctuation, no articles unless there is nothing else, single spaces."""
    words = re.sub(r"[^\w\s]|_", " ", unicodedata.normalize("NFKC", text).casefold()).split()
    return " ".join([word for word in words if word not in _ARTICLES] or words)


def matches(said: str, answer: str) -> bool:
    """Whether ``said`` is ``answer``. Signs count only where the answer is nothing else, such as ``+``."""
    wanted = normalise(answer)
    return normalise(said) == wanted if wanted else said.strip() == answer.strip()
