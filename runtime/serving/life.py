"""Whether a server takes requests, what is under way, and why it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from clasp_trt.runtime.serving import problem
from clasp_trt.runtime.serving.problem import Problem

BROKEN, STUCK = 70, 75
"""How the process ends when a backend failed, and when one gave no sign of life: EX_SOFTWARE, EX_TEMPFAIL."""


class Life:
    """In the event loop alone. ``ready`` says that every engine has answered once."""

    def __init__(self) -> None:
        self.ready = self.draining = False
        self.exit_code = 0
        self.ended = asyncio.Event()
        self._stops: set[Callable[[Problem], None]] = set()
        self._open = 0

    def check(self) -> None:
        """Raises :class:`Problem` where nothing new is taken."""
        if self.draining:
            raise problem.leaving()

    def enter(self) -> None:
        """One more request is under way."""
        self._open += 1

    def leave(self) -> None:
        """One fewer."""
        self._open -= 1
        if self.draining and not self._open:
            self.ended.set()

    @property
    def open(self) -> int:
        """Requests under way."""
        return self._open

    def follow(self, stop: Callable[[Problem], None]) -> None:
        """Has ``stop`` called when what is under way is to end at once."""
        self._stops.add(stop)

    def forget(self, stop: Callable[[Problem], None]) -> None:
        """It came to its end."""
        self._stops.discard(stop)

    def drain(self, exit_code: int = 0) -> None:
        """Takes nothing new, and ends with the last that is under way."""
        self.draining, self.ready = True, False
        self.exit_code = self.exit_code or exit_code
        if not self._open:
            self.ended.set()

    def stop(self, why: Problem) -> None:
        """Ends what is under way too."""
        for stop in list(self._stops):
            stop(why)
