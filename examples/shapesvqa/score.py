"""Exact match, after what no reader would count as a difference is taken away."""

from __future__ import annotations

import re
import unicodedata

_ARTICLES = frozenset({"a", "an", "the"})


def normalise(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces."""
    words = re.sub(r"[^\w\s]", " ", unicodedata.normalize("NFKC", text).lower()).split()
    return " ".join(word for word in words if word not in _ARTICLES)


def matches(prediction: str, answer: str) -> bool:
    """Whether a model's text is the answer. An empty prediction never is."""
    given = normalise(prediction)
    return bool(given) and given == normalise(answer)
