"""Where the time of a request goes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Span(NamedTuple):
    """A step and when it ran, in seconds of :func:`time.perf_counter`."""

    name: str
    start: float
    end: float

    @property
    def milliseconds(self) -> float:
        """How long it took."""
        return (self.end - self.start) * 1e3


def nothing() -> None:
    """What is asked before a step that nobody may prevent."""


class Timer:
    """Milliseconds by step, in the order in which steps ran, and every single span. ``before`` is asked before each
    step, and raises to prevent it."""

    def __init__(self, before: Callable[[], None] = nothing) -> None:
        self._start = time.perf_counter()
        self.before = before
        self.milliseconds: dict[str, float] = {}
        self.spans: list[Span] = []

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Adds the time of the block to ``name``."""
        self.before()
        start = time.perf_counter()
        try:
            yield
        finally:
            self.note(name, start)

    def note(self, name: str, start: float) -> None:
        """Adds the time since ``start``, in seconds of :func:`time.perf_counter`, to ``name``."""
        span = Span(name, start, time.perf_counter())
        self.spans.append(span)
        self.milliseconds[name] = self.milliseconds.get(name, 0.0) + span.milliseconds

    def elapsed_ms(self) -> float:
        """Milliseconds since the timer was made."""
        return (time.perf_counter() - self._start) * 1e3
