"""Files that work leaves: asked for before it begins, and written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from clasp_trt.errors import OutputError


def check(path: str | os.PathLike[str], suffixes: Sequence[str]) -> None:
    """Raises :class:`OutputError` where :func:`write` could not write, or for a name that ends otherwise."""
    target = Path(path)
    if target.suffix.lower() not in suffixes:
        raise OutputError(f"{target} does not say what to write; expected a name in {', '.join(suffixes)}")
    if target.is_dir():
        raise OutputError(f"{target} is a folder; name a file to write")
    if not target.parent.is_dir():
        raise OutputError(f"{target.parent} is not a folder, so {target.name} cannot be written there; make it first")
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"{target.parent} may not be written to; choose another place for {target.name}")


def write(path: str | os.PathLike[str], save: Callable[[Path], object]) -> None:
    """Lets ``save`` write a file beside ``path``, with the same suffix, and puts it in its place.

    Raises :class:`OutputError` if that fails; what was at ``path`` is then still there.
    """
    target = Path(path)
    draft = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        save(draft)
        os.replace(draft, target)
    except OSError as error:
        raise OutputError(
            f"cannot write {target} ({error.strerror or error}); choose another place, or make room"
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink()
