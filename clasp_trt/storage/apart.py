"""What work leaves is kept apart from what it reads: no output may replace, change or remove an input."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from clasp_trt.brief import clipped, shown
from clasp_trt.errors import OutputError


def keep_apart(output: str | os.PathLike[str], *inputs: str | os.PathLike[str] | None) -> None:
    """Raises :class:`OutputError` if ``output``, a file or folder to be, is one of ``inputs``, lies in it or holds it.

    Links and other spellings are followed on both sides. What is no path here, such as a hub id, and None are passed
    over.
    """
    place = _real(output)
    for given in inputs:
        if given is None or place is None or not os.path.exists(given):
            continue
        source = Path(os.path.realpath(given))
        if _same(place, source):
            relation = "is"
        elif _any_same(place.parents, source):
            relation = "lies in"
        elif _any_same(source.parents, place):
            relation = "holds"
        else:
            continue
        raise OutputError(
            f"{shown(os.fspath(output))}: {relation} {clipped(os.fspath(given))}, which is read here and must stay as"
            " it is; choose another destination"
        )


def _real(path: str | os.PathLike[str]) -> Path | None:
    try:
        return Path(os.path.realpath(path))
    except ValueError:  # a NUL, which whoever writes there refuses
        return None


def _any_same(folders: Iterable[Path], other: Path) -> bool:
    return any(_same(folder, other) for folder in folders)


def _same(path: Path, other: Path) -> bool:
    """Also where a mount or a case-blind file system gives one place two names."""
    if path == other:
        return True
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False
