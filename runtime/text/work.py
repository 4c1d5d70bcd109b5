"""How much a chat template may do: steps, seconds, and characters made, each counted while it runs."""

from __future__ import annotations

import time
from collections.abc import Mapping

import jinja2

MAX_STEPS = 200_000
MAX_SECONDS = 2.0
MAX_CHARACTERS = 4_000_000
"""Longest value that a template may make, and longest rendered prompt; a member of a list counts for several."""
MAX_MADE = 16 * MAX_CHARACTERS
"""What all values that it makes may have together."""
MAX_BITS = 4096
"""Of an integer: what takes longer to multiply or to write out is no business of a prompt."""
_MEMBER = 16


class BoundExceeded(jinja2.TemplateRuntimeError):
    """The template did more than a chat template has any reason to."""


class Work:
    """What one rendering has done so far. Every method raises :class:`BoundExceeded` when it is too much."""

    def __init__(self) -> None:
        self._steps = self._made = 0
        self._deadline = time.monotonic() + MAX_SECONDS

    def step(self, characters: int = 0) -> str:
        """One iteration or call, which writes ``characters`` of the template itself. Returns nothing to print."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise BoundExceeded(f"over {MAX_STEPS} loop iterations and calls")
        self.look_at_the_clock()
        self.make(characters)
        return ""

    def look_at_the_clock(self) -> None:
        if time.monotonic() > self._deadline:
            raise BoundExceeded(f"over {MAX_SECONDS:.0f} s of rendering")

    def make(self, characters: int) -> None:
        """To be told before so many are made."""
        if characters > MAX_CHARACTERS:
            raise BoundExceeded(f"a value of over {MAX_CHARACTERS} characters")
        self._made += characters
        if self._made > MAX_MADE:
            raise BoundExceeded(f"over {MAX_MADE} characters of values")

    def measured(self, value: object) -> object:
        """``value``, if it is short enough to be written out, compared and kept."""
        self.make(weight(value))
        return value


def weight(value: object) -> int:
    """About how many characters ``value`` has when it is written out: what is in it several times counts as often.
    Counting stops beyond :data:`MAX_CHARACTERS`."""
    total, pending = 0, [value]
    while pending and total <= MAX_CHARACTERS:
        item = pending.pop()
        if isinstance(item, (str, bytes)):
            total += len(item)
        elif isinstance(item, int):
            total += item.bit_length() // 3
            if item.bit_length() > MAX_BITS:
                raise BoundExceeded(f"an integer of over {MAX_BITS} bits")
        elif isinstance(item, (list, tuple, set, frozenset, range)):
            total += _MEMBER * len(item)
            if total <= MAX_CHARACTERS and not isinstance(item, range):
                pending.extend(item)
        elif isinstance(item, Mapping):
            total += 2 * _MEMBER * len(item)
            if total <= MAX_CHARACTERS:
                pending.extend(item.keys())
                pending.extend(item.values())
    return total
