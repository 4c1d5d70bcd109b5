"""Signals that end a command, as an exception: whatever it was writing is removed on the way out."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_LATER_S = 0.01
_caught: list[int] = []  # of the block that runs; a process has one set of handlers


class Stopped(BaseException):
    """Raised where a signal found the program; like ``KeyboardInterrupt`` it passes ``except Exception``."""


@contextmanager
def signals_raise() -> Iterator[list[int]]:
    """Within the block, :data:`ENDING` signals raise :class:`Stopped`; yields the growing list of those that came.

    Signals that the parent told us to ignore (``nohup``, a shell's background jobs) stay ignored. Outside the main
    thread nothing changes, since Python runs no handler there.
    """
    _caught.clear()
    if threading.current_thread() is not threading.main_thread():
        yield _caught
        return
    before, hook = {number: signal.getsignal(number) for number in ENDING}, sys.unraisablehook
    try:
        sys.unraisablehook = lambda lost: _again(lost) if isinstance(lost.exc_value, Stopped) else hook(lost)
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, _stop)
        yield _caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook


@contextmanager
def interrupts_end_a_turn() -> Iterator[None]:
    """Within the block an interrupt raises ``KeyboardInterrupt``, after which a command may go on; other signals end it
    as ever."""
    before = signal.getsignal(signal.SIGINT)
    try:
        if before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def stop_if_asked() -> None:
    """Raises :class:`Stopped` if a signal came whose exception was lost, as happens while large libraries load."""
    if _caught:
        raise Stopped


def _again(lost: sys.UnraisableHookArgs) -> None:
    """Sends the signal again: it fell into a callback of the interpreter's own, which no exception leaves."""
    # to the thread whose handler it is: elsewhere it would not end a wait
    resend = threading.Timer(_LATER_S, signal.pthread_kill, (threading.main_thread().ident, _caught[-1]))
    resend.daemon = True
    resend.start()


def _stop(number: int, frame: FrameType | None) -> None:
    _caught.append(number)
    raise Stopped
