"""Folders that work leaves: written beside their place, whole or not at all, and never at the cost of an earlier one.

A folder is written beside its destination and then renamed. What an interruption at any moment leaves is told in
:mod:`clasp_trt.storage.leftovers`, and mended by the next run.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from clasp_trt.brief import reason, shown
from clasp_trt.errors import OutputError
from clasp_trt.storage import leftovers

_FULL = {
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file-size limit is reached",
}


@contextmanager
def staged(destination: str | os.PathLike[str], check: Callable[[Path], None]) -> Iterator[StagedFolder]:
    """A folder to be filled under its ``root`` in the block, and then published at ``destination``.

    Until :meth:`StagedFolder.publish` returns, nothing is at ``destination`` but what was there before; whatever ends
    the block earlier removes everything that was written. ``check`` raises :class:`OutputError` if what is at a path
    may not be replaced; it is asked before anything is written, and again before it is replaced. Raises
    :class:`OutputError` for a destination that cannot be written, also on behalf of code in the block whose files do
    not fit on the disk. Parent folders are made.
    """
    target = _resolve(destination)
    staging = leftovers.Staging(target)
    made: list[Path] = []
    try:
        with _reported(target, staging.path):
            leftovers.sweep(target)
            check(target)
            _make_parents(target.parent, made)
            staging.create()
        with _reported(target, staging.path, files_only=True):
            yield StagedFolder(target, staging.path, check)
    finally:
        staging.remove()
        leftovers.sweep(target)  # an interruption within the replacement itself
        for folder in reversed(made):
            with suppress(OSError):  # not empty: it holds the destination
                folder.rmdir()


class StagedFolder:
    """A folder in the making, from :func:`staged`; its files go under ``root``."""

    def __init__(self, destination: Path, root: Path, check: Callable[[Path], None]) -> None:
        self.destination, self.root, self._check = destination, root, check

    def reported(self) -> AbstractContextManager[None]:
        """What the operating system refuses in the block becomes one :class:`OutputError` about the destination."""
        return _reported(self.destination, self.root)

    def publish(self) -> None:
        """Move all of it to the destination, in the place of what is there."""
        with self.reported():
            self._check(self.destination)  # again: it may have appeared while we wrote
            if os.path.lexists(self.destination):
                self._replace()
            else:
                os.rename(self.root, self.destination)
            sync(self.destination.parent)

    def _replace(self) -> None:
        """Set the older folder aside, move the new one in, and only then remove the older.

        What to undo is read off the disk: an interruption can fall between a rename and any note of it.
        """
        lock = leftovers.Lock()
        aside = leftovers.sibling(self.destination, leftovers.REPLACED)
        try:
            _lock_older(lock, self.destination)
            os.rename(self.destination, aside)
            os.rename(self.root, self.destination)
            with suppress(OSError):
                leftovers.retire(aside, self.destination)
        finally:
            try:
                if os.path.lexists(aside) and not os.path.lexists(self.destination):
                    os.rename(aside, self.destination)
            finally:
                lock.release()


def sync(path: Path) -> None:
    """Wait until the file or folder at ``path`` would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems flush files but not folders
            raise
    finally:
        os.close(descriptor)


def _resolve(destination: str | os.PathLike[str]) -> Path:
    """The real path: a link at the destination stays, and the folder it points to is replaced."""
    try:
        target = Path(os.path.realpath(destination))
    except ValueError as error:  # a NUL
        raise OutputError(f"{shown(os.fspath(destination))}: not a path ({reason(error)})") from None
    if not target.name:
        raise OutputError(f"{shown(target)}: not a place for a folder; name one to make")
    return target


def _lock_older(lock: leftovers.Lock, destination: Path) -> None:
    """Keep others from replacing, and readers from restoring, the folder that is about to be set aside."""
    try:
        free = lock.acquire(destination)
    except OSError:
        return  # a file system without locks: a killed replacement is then mended by hand
    if not free:
        raise OutputError(f"{shown(destination)}: another run is replacing this; wait for it and try again")


def _make_parents(parent: Path, made: list[Path]) -> None:
    """Make ``parent`` and what it lacks above; every folder is noted in ``made`` before it exists."""
    missing: list[Path] = []
    while not parent.exists():
        missing.append(parent)
        parent = parent.parent
    for folder in reversed(missing):
        made.append(folder)
        folder.mkdir(exist_ok=True)


@contextmanager
def _reported(destination: Path, staging: Path, *, files_only: bool = False) -> Iterator[None]:
    """What the operating system refuses becomes one :class:`OutputError` line about ``destination``.

    With ``files_only``, an ``OSError`` that names a file elsewhere, or neither a file nor a full disk,
    passes.
    """
    try:
        yield
    except OSError as error:
        if files_only and not _concerns(error, staging):
            raise
        raise OutputError(f"{shown(destination)}: {_explain(error, staging)}") from error


def _concerns(error: OSError, staging: Path) -> bool:
    if isinstance(error.filename, (str, Path)):
        return Path(os.path.abspath(error.filename)).is_relative_to(staging)
    return error.errno in _FULL


def _explain(error: OSError, staging: Path) -> str:
    if error.errno not in _FULL:
        at = f" at {shown(error.filename)}" if isinstance(error.filename, (str, Path)) else ""
        return f"cannot be written ({reason(error)}{at}); choose another destination or mend its permissions"
    written = sum((Path(at) / name).lstat().st_size for at, _, names in os.walk(staging) for name in names)
    free = shutil.disk_usage(staging.parent).free
    return (
        f"{_FULL[error.errno]} after {written / 1e9:.2f} GB ({free / 1e9:.2f} GB free); nothing was changed:"
        " make room or choose another destination"
    )
