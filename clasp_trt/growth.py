"""How much longer a tokenizer can make a text: what its steps of replacement come to, one after the other.

A dozen of them, each of which makes ten characters of one, would make terabytes of a line.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tokenizers

MOST = 64
"""Times as long: far over what any published tokenizer does (18, where Unicode's compatibility forms are written out).
"""
_SIZE_BYTES = 4


def check_growth(tokenizer: tokenizers.Tokenizer) -> None:
    """Raises ``ValueError`` for a normalizer or decoder that can make a text over :data:`MOST` times as long.

    Nothing is run for it.
    """
    for part, step in (("normalizer", tokenizer.normalizer), ("decoder", tokenizer.decoder)):
        times = Fraction(1)
        for each in () if step is None else _records(json.loads(step.__getstate__())):
            times *= _times(each)
        if times > MOST:
            raise ValueError(f"its {part} can make a text {float(times):.3g} times as long, expected at most {MOST}")


def _records(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in ``value``."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _records(each)


def _times(step: dict[str, Any]) -> Fraction:
    """How many characters one step can make of one, at least 1."""
    if step.get("type") == "Replace":
        found = step["pattern"].get("String")  # a regular expression can match the nothing between two characters
        if not found:
            return Fraction(1 + len(step["content"]))
        return max(Fraction(1), Fraction(len(step["content"]), len(found)))
    if step.get("type") == "Precompiled":
        return Fraction(max(1, _longest(base64.b64decode(step["precompiled_charsmap"]))))
    return Fraction(1)


def _longest(charsmap: bytes) -> int:
    """Characters of the longest text that SentencePiece's compiled normalizer has for one: after the table, whose size
    is told first, they stand one after the other, each with a zero at its end."""
    texts = charsmap[_SIZE_BYTES + int.from_bytes(charsmap[:_SIZE_BYTES], "little") :].split(b"\0")
    return max(len(text.decode("utf-8", "replace")) for text in texts)
