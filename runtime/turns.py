"""Several threads on one loaded bundle: what computes takes turns, and what is closed stays closed."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from clasp_trt.errors import BackendError, RequestError
from clasp_trt.runtime.backends.checked import CLOSED

PATIENCE_S = 5.0
"""Seconds that another thread waits for a stream of which nobody asks for more, before it takes over."""


class Turning(Protocol):
    """What takes turns: whether it had one, and whether it needs no more. Both change within a turn alone."""

    begun: bool
    ended: bool


class Turns:
    """One computation at a time, and one answer in the caches.

    An answer keeps its turn from its first token to its last: other threads wait for it. It loses its turn to another
    request of the thread that asked it last, which would wait for itself, and to any after :data:`PATIENCE_S` in which
    nobody asked it for more.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._computing: int | None = None  # the thread
        self._answer: weakref.ref[object] | None = None  # one that nobody refers to any more is over
        self._asked_by, self._asked_at = 0, 0.0
        self._closed = False

    @contextmanager
    def of(self, answer: Turning) -> Iterator[None]:
        """A turn of ``answer``.

        Raises :class:`RequestError` if it lost its turn to another, and :class:`BackendError` after :meth:`close`.
        """
        with self._changed:
            self._wait(lambda: self._has(answer) or answer.begun or self._is_free())
            if answer.begun and not answer.ended and not self._has(answer):
                raise RequestError(
                    "another request took over the caches; finish one answer before the next, or load the bundle once "
                    "for each thread that streams"
                )
            if not answer.ended:
                self._answer, self._asked_by = weakref.ref(answer), threading.get_ident()
            self._computing = threading.get_ident()
        try:
            yield
        finally:
            with self._changed:
                self._asked_at = time.monotonic()
                self._end()

    @contextmanager
    def between(self) -> Iterator[None]:
        """A computation that needs no caches, between two of the answer that has them."""
        with self._changed:
            self._wait(lambda: True)
            self._computing = threading.get_ident()
        try:
            yield
        finally:
            with self._changed:
                self._end()

    def over(self, answer: Turning) -> None:
        """``answer`` needs no turn any more."""
        with self._changed:
            if self._has(answer):
                self._answer = None
                self._changed.notify_all()

    def check(self) -> None:
        """Raises :class:`BackendError` after :meth:`close`: asked within a turn, so that an answer ends early."""
        if self._closed:
            raise BackendError(CLOSED)

    def close(self, release: Callable[[], None]) -> None:
        """Ends all turns, waits for a computation of another thread, and has ``release`` give everything back.

        A second call does nothing, but for waiting until the first is done.
        """
        with self._changed:
            closed, self._closed = self._closed, True
            self._changed.notify_all()
            while self._computing not in (None, threading.get_ident()):
                self._changed.wait()
            if not closed:
                release()

    def _wait(self, ready: Callable[[], bool]) -> None:
        """Until nobody computes and it is ``ready``; looks again when something changes, or patience may have ended."""
        while not self._closed and (self._computing is not None or not ready()):
            if self._computing == threading.get_ident():
                raise RequestError(
                    "a request was made while another one of the same thread computes; make it afterwards"
                )
            idle = self._asked_at + PATIENCE_S - time.monotonic()
            self._changed.wait(None if self._computing is not None else max(idle, 0.001))
        self.check()

    def _has(self, answer: Turning) -> bool:
        return self._answer is not None and self._answer() is answer

    def _is_free(self) -> bool:
        return (
            self._answer is None
            or self._answer() is None
            or self._asked_by == threading.get_ident()
            or time.monotonic() - self._asked_at >= PATIENCE_S
        )

    def _end(self) -> None:
        self._computing = None
        self._changed.notify_all()
