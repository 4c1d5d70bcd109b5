"""Files that work leaves: asked for before it begins, and written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from clasp_trt.errors import OutputError


def check(path: str | os.PathLike[str], suffixes: Sequence[str] = (), *, force: bool = True) -> Path:
    """Where :func:`write` will write: the file that a link leads to.

    Raises :class:`OutputError` where it could not write, for a name that ends in none of ``suffixes`` if there are any,
    and without ``force`` for a file that is there.
    """
    name, target = os.fspath(path) or "the output", Path(os.path.realpath(path))
    folder = Path(path).parent
    if suffixes and target.suffix.lower() not in suffixes:
        raise OutputError(f"{name} does not say what to write; expected a name in {', '.join(suffixes)}")
    if target.is_dir():
        raise OutputError(f"{name} is a folder; name a file to write")
    if not target.parent.is_dir():
        raise OutputError(f"{folder} is not a folder, so {target.name} cannot be written there; make it first")
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"{folder} may not be written to; choose another place for {target.name}")
    if target.exists() and not force:
        raise OutputError(f"{name} exists; replace it with --force, or choose another output")
    return target


def write(path: str | os.PathLike[str], save: Callable[[Path], object]) -> None:
    """Lets ``save`` write a file beside ``path``, with the same suffix, and puts it in its place.

    Raises :class:`OutputError` if that fails; what was at ``path`` is then still there.
    """
    target = Path(os.path.realpath(path))
    draft = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        save(draft)
        os.replace(draft, target)
    except OSError as error:
        raise OutputError(
            f"cannot write {path} ({error.strerror or error}); choose another place, or make room"
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """:func:`write` of a text in UTF-8."""
    write(path, lambda draft: draft.write_text(text, encoding="utf-8"))
