"""What a build keeps beside its destination, and what a killed one leaves there.

For the destination ``out`` there are two kinds of sibling folders, hidden and named after the process that
made them: ``.out.building-PID-XXXXXXXX`` (a bundle being written) and ``.out.replaced-PID-XXXXXXXX`` (a whole
older bundle, set aside in the instant between the two renames of a replacement). Their maker holds a
``flock`` on the folder. The kernel drops it when the process dies, by whatever signal and in whatever
container, so unlike a process id it neither outlives its process nor is taken for another's. Where a file
system has no such locks, nothing counts as dead.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

BUILDING = "building"
REPLACED = "replaced"


def sibling(destination: Path, kind: str) -> Path:
    """A fresh name beside ``destination``; nothing is created."""
    return destination.with_name(f".{destination.name}.{kind}-{os.getpid()}-{secrets.token_hex(4)}")


def siblings(destination: Path, kind: str) -> list[Path]:
    """The siblings of ``kind`` that lie beside ``destination``, dead or alive."""
    pattern = re.compile(rf"\.{re.escape(destination.name)}\.{kind}-[0-9]+-[0-9a-f]{{8}}")
    try:
        names = sorted(os.listdir(destination.parent))
    except OSError:
        return []
    return [destination.parent / name for name in names if pattern.fullmatch(name)]


class Lock:
    """A hold on a folder. It exists before it holds anything, so that no interruption loses track of it."""

    _descriptor: int | None = None

    def acquire(self, folder: Path) -> bool:
        """Hold ``folder``; False if another process does.

        Raises ``OSError`` when the folder is gone or its file system has no locks.
        """
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def holds(self, folder: Path) -> bool:
        """Whether what is held still bears the name ``folder``."""
        if self._descriptor is None or not folder.exists():
            return False
        return os.path.samestat(os.fstat(self._descriptor), folder.lstat())

    def release(self) -> None:
        """Let go; by unlocking, because forked children may have inherited the descriptor that we close."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def __del__(self) -> None:
        self.release()  # where an interruption skipped it


class Staging:
    """The folder in which a bundle for ``destination`` is written; it has a ``path`` before it exists."""

    def __init__(self, destination: Path) -> None:
        self._destination = destination
        self._lock = Lock()
        self.path = sibling(destination, BUILDING)

    def create(self) -> None:
        """Make and hold the folder; start over if another build's sweep took it before we held it."""
        while True:
            os.mkdir(self.path, 0o755)
            try:
                if self._lock.acquire(self.path) and self._lock.holds(self.path):
                    return
            except FileNotFoundError:
                pass
            except OSError:
                return  # a file system without locks, where no sweep takes anything
            self.remove()
            self.path = sibling(self._destination, BUILDING)

    def remove(self) -> None:
        """Remove the folder, unless it was renamed, and let go."""
        try:
            discard(self.path)
        finally:
            self._lock.release()


def discard(folder: Path) -> None:
    """Remove ``folder`` as far as the file system lets us; what stays is swept by a later build.

    It may hold what a stranger put there: folders in it are moved up before they are looked into, so that neither the
    stack nor a path grows with how deep they are nested.
    """
    if os.path.islink(folder) or not os.path.isdir(folder):
        return
    fresh = f".{secrets.token_hex(4)}"
    moved = 0
    while True:
        before = moved
        for inner in _entries(folder):
            if not inner.is_dir(follow_symlinks=False):
                _try(os.unlink, inner.path)
                continue
            for deeper in _entries(Path(inner.path)):
                if deeper.is_dir(follow_symlinks=False):
                    _try(os.chmod, deeper.path, 0o700)  # a folder that changes its place is written to
                    moved += _try(os.rename, deeper.path, folder / f"{fresh}{moved}")
                else:
                    _try(os.unlink, deeper.path)
            _try(os.rmdir, inner.path)
        if moved == before:
            break
    _try(os.rmdir, folder)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in ``folder``, whose permissions may have been taken away."""
    _try(os.chmod, folder, 0o700)
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _try(act: Callable[..., object], *words: object) -> bool:
    """Whether the file system let us."""
    try:
        act(*words)
    except OSError:
        return False
    return True


def restore(destination: Path) -> None:
    """If a replacement was killed between its two renames, put the older bundle back where it was."""

    def put_back(aside: Path) -> None:
        if not os.path.lexists(destination):
            os.rename(aside, destination)

    for aside in siblings(destination, REPLACED):
        _if_dead(aside, put_back)


def sweep(destination: Path) -> None:
    """Undo what killed builds of ``destination`` left: restore the older bundle, remove all else."""
    restore(destination)
    if os.path.lexists(destination):
        for aside in siblings(destination, REPLACED):
            _if_dead(aside, lambda aside: retire(aside, destination))
    for staging in siblings(destination, BUILDING):
        _if_dead(staging, discard)


def retire(aside: Path, destination: Path) -> None:
    """Remove an older bundle that was replaced.

    It is renamed first: a half-removed folder must not bear the name under which :func:`restore` looks for
    whole ones.
    """
    doomed = sibling(destination, BUILDING)
    os.rename(aside, doomed)
    discard(doomed)


def _if_dead(folder: Path, act: Callable[[Path], None]) -> None:
    """``act`` on ``folder``, unless its maker lives, its locks are unknown, or another process was faster."""
    lock = Lock()
    try:
        if lock.acquire(folder):
            act(folder)
    except OSError:
        pass
    finally:
        lock.release()
