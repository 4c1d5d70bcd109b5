"""Rust's panics. The ``tokenizers`` library meets what it does not expect with one: a ``BaseException`` beside Python's
own classes, after a report of its own on standard error."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2


def is_panic(error: BaseException) -> bool:
    """Whether ``error`` is a panic; its class cannot be imported."""
    return type(error).__name__ == "PanicException"


@contextmanager
def panics_raise(kind: type[Exception], told: str) -> Iterator[None]:
    """A panic in the block becomes a ``kind`` that says ``told`` and its reason."""
    try:
        yield
    except BaseException as error:
        if not is_panic(error):
            raise
        raise kind(f"{told}: {error}") from None


@contextmanager
def held_reports() -> Iterator[None]:
    """Keeps what is written to standard error in the block, and writes it after all unless the block ends in a panic,
    whose report says what the error says."""
    try:
        real = os.dup(_STDERR)
    except OSError:  # closed: nobody is told
        yield
        return
    panicked = False
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        except BaseException as error:
            panicked = is_panic(error)
            raise
        finally:
            os.dup2(real, _STDERR)
            os.close(real)
            if not panicked and held.seek(0, os.SEEK_END):
                held.seek(0)
                os.write(_STDERR, held.read())
