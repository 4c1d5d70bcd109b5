"""Where the time of a request goes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Timer:
    """Milliseconds by step, in the order in which steps ran."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self.milliseconds: dict[str, float] = {}

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Adds the time of the block to ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.milliseconds[name] = self.milliseconds.get(name, 0.0) + (time.perf_counter() - start) * 1e3

    def elapsed_ms(self) -> float:
        """Milliseconds since the timer was made."""
        return (time.perf_counter() - self._start) * 1e3
