"""The files of a bundle on disk: walked without following links, and hashed without being trusted."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from clasp_trt.brief import reason, shown
from clasp_trt.bundle.errors import NotAFile, Unreadable, UnsafePath
from clasp_trt.storage.hashes import stream_sha256

# Without O_NONBLOCK a FIFO would block the open; without O_NOFOLLOW a link would lead out of the bundle.
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


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
        try:
            with os.scandir(root / prefix) as entries:
                found = sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)
        except OSError as error:
            raise Unreadable(f"{shown(root)}: {shown(prefix or '.')}: cannot be read ({reason(error)})") from None
        for name, status in found:
            path = prefix + name
            if stat.S_ISREG(status.st_mode):
                files[path] = status
            elif stat.S_ISDIR(status.st_mode):
                folders.add(path)
                pending.append(f"{path}/")
            elif stat.S_ISLNK(status.st_mode):
                raise UnsafePath(
                    f"{shown(root)}: {shown(path)}: is a symbolic link; a bundle holds files only:"
                    " copy it again with links followed (cp -rL)"
                )
            else:
                raise NotAFile(f"{shown(root)}: {shown(path)}: is not a regular file; remove it or rebuild the bundle")
    return files, folders


def open_regular(path: Path) -> int:
    """A descriptor of the regular file at ``path``; ``OSError`` for anything else, at once and without side
    effects."""
    descriptor = os.open(path, _OPEN_FLAGS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("not a regular file")
    return descriptor


def sha256(path: Path, on_bytes: Callable[[int], None]) -> str:
    """The hexadecimal SHA-256 of the file at ``path``; ``on_bytes`` hears the size of each chunk read."""
    with open(open_regular(path), "rb", buffering=0) as file:
        return stream_sha256(file, on_bytes)
