"""What a message must name. Its class and its facts are promised; its sentence may be written better any day."""

from __future__ import annotations

import re

import pytest


def says(message: object, *facts: object) -> None:
    """Asserts that a message, or what ``pytest.raises`` caught, names every one of ``facts`` as words of its own.

    A fact that begins or ends inside a longer word or number is not named: 17 is neither in 170 nor in 17.5.
    """
    text = str(message.value if isinstance(message, pytest.ExceptionInfo) else message)
    missing = [fact for fact in map(str, facts) if not _named(text, fact)]
    assert not missing, f"{missing} not named in: {text}"


def _named(text: str, fact: str) -> bool:
    before = r"(?<!\w)(?<!\d\.)" if fact[:1].isalnum() else ""
    after = r"(?!\w)(?!\.\d)" if fact[-1:].isalnum() else ""
    return re.search(before + re.escape(fact) + after, text) is not None
