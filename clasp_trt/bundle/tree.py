"""The files of a bundle on disk, hashed without being trusted: as they are written, and as they arrive elsewhere."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath

from clasp_trt.brief import reason, shown
from clasp_trt.bundle.errors import NotAFile, Unreadable, UnsafePath
from clasp_trt.storage.hashes import stream_sha256

COPY = "copy it again with links followed (cp -rL)"
_WRITTEN = "a bundle is written without links"

# Without O_NONBLOCK a FIFO would block the open; without O_NOFOLLOW a link would lead out of the bundle.
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

# What hubs, git, desktops, file systems and people leave beside the files: nobody reads it here.
_ASIDE = re.compile(
    r"\..*|.*\.(md|rst|txt|pdf)|(readme|licen[cs]e|copying|notice|authors|citation|changelog)([._-].*)?"
    r"|lost\+found|thumbs\.db|desktop\.ini",
    re.IGNORECASE | re.DOTALL,
)


def walk(root: Path) -> tuple[dict[str, os.stat_result], set[str]]:
    """The regular files and the folders under ``root``, by path relative to it with ``/`` between names.

    Raises :class:`UnsafePath` for a symbolic link, wherever it leads, and :class:`NotAFile` for a FIFO,
    socket or device.
    """
    files: dict[str, os.stat_result] = {}
    folders: set[str] = set()
    pending = [""]
    while pending:  # not recursive: a hostile folder may be nested deeper than Python's stack
        prefix = pending.pop()
        for name, status in _entries(root, prefix):
            path = prefix + name
            if stat.S_ISLNK(status.st_mode):
                raise UnsafePath(f"{shown(root)}: {shown(path)}: is a symbolic link; {_WRITTEN}")
            _sort(root, path, status, files, folders, pending)
    return files, folders


def survey(root: Path, listed: Collection[str]) -> tuple[dict[str, os.stat_result], set[str], frozenset[str]]:
    """As :func:`walk`, of a bundle that may have travelled: also the paths of the files that are links.

    What is not ``listed`` is passed over if its name begins with a dot or is that of a document. A link is followed if
    it leads to a regular file, whose content is to be checked, or to a folder within ``root``. Raises
    :class:`UnsafePath` for any other.
    """
    known = {str(parent) for path in listed for parent in PurePosixPath(path).parents} | {*listed}
    files: dict[str, os.stat_result] = {}
    folders: set[str] = set()
    links: set[str] = set()
    real = os.path.realpath(root)
    entered, pending = {real}, [""]
    while pending:
        prefix = pending.pop()
        for name, status in _entries(root, prefix):
            path = prefix + name
            if path not in known and _ASIDE.fullmatch(name):
                continue
            if stat.S_ISLNK(status.st_mode):
                target, status = _followed(root, path)
                if stat.S_ISREG(status.st_mode) and path in known:
                    links.add(path)
                elif not stat.S_ISDIR(status.st_mode) or path not in known:
                    raise _unsafe(root, path, "to what is no file of the bundle")
                elif not _within(target, real) or target in entered:
                    raise _unsafe(root, path, "to a folder elsewhere" if target not in entered else "back to a folder")
                entered.add(target)
            _sort(root, path, status, files, folders, pending)
    return files, folders, frozenset(links)


def open_regular(path: Path) -> int:
    """A descriptor of the regular file at ``path``; ``OSError`` for anything else, at once and without side
    effects."""
    descriptor = os.open(path, _OPEN_FLAGS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("not a regular file")
    return descriptor


def open_own(root: Path, name: str) -> int:
    """:func:`open_regular` of a file of which nothing is known yet. It may be a link within ``root`` or, in a hub's
    cache, within the model's folder, where the files are."""
    path = root / name
    if not path.is_symlink():
        return open_regular(path)
    home, target = Path(os.path.realpath(root)), os.path.realpath(path)
    home = home.parents[1] if home.parent.name == "snapshots" else home
    if not os.path.exists(target) or not _within(target, str(home)):
        raise OSError("a symbolic link that leads nowhere or out of the bundle: copy it with links followed")
    return open_regular(Path(target))


def sha256(path: Path, on_bytes: Callable[[int], None]) -> str:
    """The hexadecimal SHA-256 of the file at ``path``; ``on_bytes`` hears the size of each chunk read."""
    with open(open_regular(path), "rb", buffering=0) as file:
        return stream_sha256(file, on_bytes)


def _entries(root: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    try:
        with os.scandir(root / prefix) as entries:
            yield from sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)
    except OSError as error:
        raise Unreadable(f"{shown(root)}: {shown(prefix or '.')}: cannot be read ({reason(error)})") from None


def _sort(
    root: Path,
    path: str,
    status: os.stat_result,
    files: dict[str, os.stat_result],
    folders: set[str],
    pending: list[str],
) -> None:
    """An entry goes to the files, or to the folders and what is to be looked at next."""
    if stat.S_ISREG(status.st_mode):
        files[path] = status
    elif stat.S_ISDIR(status.st_mode):
        folders.add(path)
        pending.append(f"{path}/")
    else:
        raise NotAFile(f"{shown(root)}: {shown(path)}: is not a regular file; remove it or rebuild the bundle")


def _followed(root: Path, path: str) -> tuple[str, os.stat_result]:
    """Where a link leads in the end, and what is there."""
    try:
        target = os.path.realpath(root / path)
        return target, os.stat(target)
    except OSError as error:
        raise _unsafe(root, path, f"that cannot be followed ({reason(error)})") from None


def _within(path: str, folder: str) -> bool:
    return os.path.commonpath((path, folder)) == folder


def _unsafe(root: Path, path: str, leads: str) -> UnsafePath:
    return UnsafePath(f"{shown(root)}: {shown(path)}: is a symbolic link {leads}; {COPY}")
