"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Hears the name of a phase, how many of its steps are done, and how many there are."""

ByteProgress = Callable[[int, int], None]
"""Hears how many bytes are done, and how many there are."""


def silent(phase: str, done: int, total: int) -> None:
    """A :data:`Progress` that nobody listens to."""
