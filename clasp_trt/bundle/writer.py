"""Writing a bundle: whole or not at all, and never at the cost of an earlier one.

A bundle is written in a folder beside its destination, made durable, re-opened and verified there, and then
renamed. ``docs/bundle-format.md`` says what is found after an interruption at any moment.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clasp_trt.brief import reason, shown
from clasp_trt.bundle import codec, tree
from clasp_trt.bundle.errors import NotABundle, NotAFile, UnlistedFile, UnsafePath
from clasp_trt.bundle.manifest import MANIFEST, FileEntry, Manifest
from clasp_trt.bundle.reader import Bundle
from clasp_trt.errors import BundleError, OutputError
from clasp_trt.progress import ByteProgress
from clasp_trt.storage import leftovers

_FILE_MODE = 0o644
_FULL = {
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file-size limit is reached",
}


@contextmanager
def write(destination: str | os.PathLike[str], *, force: bool = False) -> Iterator[Writer]:
    """Make a bundle at ``destination``: put files under the ``root`` of the writer, then ``commit``.

    Until :meth:`Writer.commit` returns, nothing is at ``destination`` but what was there before; whatever
    ends the ``with`` block earlier removes everything that was written. ``force`` replaces an older bundle,
    and nothing else. Raises :class:`OutputError` for a destination that exists or cannot be written, also on
    behalf of code in the block whose files do not fit on the disk. Parent folders are made.
    """
    target = _resolve(destination)
    staging = leftovers.Staging(target)
    made: list[Path] = []
    try:
        with _reported(target, staging.path):
            leftovers.sweep(target)
            _check_replaceable(target, force)
            _make_parents(target.parent, made)
            staging.create()
        with _reported(target, staging.path, files_only=True):
            yield Writer(target, staging.path, force)
    finally:
        staging.remove()
        leftovers.sweep(target)  # an interruption within the replacement itself
        for folder in reversed(made):
            with suppress(OSError):  # not empty: it holds the bundle
                folder.rmdir()


class Writer:
    """A bundle in the making, from :func:`write`. Files go under ``root``, in plain folders, no links."""

    def __init__(self, destination: Path, root: Path, force: bool) -> None:
        self.destination = destination
        self.root = root
        self._force = force

    def commit(self, manifest: Manifest, progress: ByteProgress | None = None) -> Bundle:
        """Seal the files under ``root`` with ``manifest``, verify, and move all of it to the destination.

        ``manifest.files`` is replaced by what lies under ``root``. ``progress`` hears of every byte twice:
        hashed, then verified. Raises :class:`OutputError` when the destination cannot take the bundle, and
        ``RuntimeError`` for a manifest that breaks the format, which is no user's mistake.
        """
        with _reported(self.destination, self.root):
            complete = self._seal(manifest, progress)
            self._publish()
        return Bundle(self.destination, complete)

    def _seal(self, manifest: Manifest, progress: ByteProgress | None) -> Manifest:
        """Set modes, flush and hash every file, write the manifest last, and verify all as a reader would."""
        found, folders = tree.walk(self.root)
        found.pop(MANIFEST, None)
        size = sum(status.st_size for status in found.values())
        # The root was made with mode 0755, so its permissions are what the umask leaves of them.
        folder_mode = stat.S_IMODE(self.root.stat().st_mode)
        file_mode = folder_mode & _FILE_MODE
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if progress is not None:
                progress(done, 2 * size)

        entries: dict[str, FileEntry] = {}
        for path, status in sorted(found.items()):
            if stat.S_IMODE(status.st_mode) != file_mode:
                (self.root / path).chmod(file_mode)
            _sync(self.root / path)
            entries[path] = FileEntry(status.st_size, tree.sha256(self.root / path, advance))
        complete = dataclasses.replace(manifest, files=entries)
        _write_manifest(self.root, complete, file_mode)
        for folder in sorted(folders, reverse=True):
            (self.root / folder).chmod(folder_mode)
            _sync(self.root / folder)
        _sync(self.root)
        staged = Bundle.open(self.root)
        staged.verify(None if progress is None else lambda verified, _: progress(size + verified, 2 * size))
        return complete

    def _publish(self) -> None:
        _check_replaceable(self.destination, self._force)  # again: it may have appeared while we wrote
        if os.path.lexists(self.destination):
            self._replace()
        else:
            os.rename(self.root, self.destination)
        _sync(self.destination.parent)

    def _replace(self) -> None:
        """Set the older bundle aside, move the new one in, and only then remove the older.

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


def _resolve(destination: str | os.PathLike[str]) -> Path:
    """The real path: a link at the destination stays, and the bundle it points to is replaced."""
    try:
        target = Path(os.path.realpath(destination))
    except ValueError as error:  # a NUL
        raise OutputError(f"{shown(os.fspath(destination))}: not a path ({reason(error)})") from None
    if not target.name:
        raise OutputError(f"{shown(target)}: not a place for a bundle; name a folder to make")
    return target


def _lock_older(lock: leftovers.Lock, destination: Path) -> None:
    """Keep others from replacing, and readers from restoring, the bundle that is about to be set aside."""
    try:
        free = lock.acquire(destination)
    except OSError:
        return  # a file system without locks: a killed replacement is then mended by hand
    if not free:
        raise OutputError(f"{shown(destination)}: another build is replacing this bundle; wait for it and try again")


def _check_replaceable(destination: Path, force: bool) -> None:
    """Nothing there, or with ``force`` a bundle and nothing but that bundle."""
    name = shown(destination)
    if not os.path.lexists(destination):
        return
    if not destination.is_dir():
        raise OutputError(f"{name}: exists and is not a folder; it is left as it is: choose another destination")
    try:
        if os.listdir(destination):
            Bundle.open(destination)
    except (NotABundle, NotAFile, UnlistedFile, UnsafePath) as error:
        raise OutputError(f"{error} (the destination exists, and nothing but a bundle is ever replaced)") from None
    except BundleError:
        pass  # a damaged bundle is a bundle
    if not force:
        raise OutputError(f"{name}: exists; replace it with --force, or choose another destination")


def _make_parents(parent: Path, made: list[Path]) -> None:
    """Make ``parent`` and what it lacks above; every folder is noted in ``made`` before it exists."""
    missing: list[Path] = []
    while not parent.exists():
        missing.append(parent)
        parent = parent.parent
    for folder in reversed(missing):
        made.append(folder)
        folder.mkdir(exist_ok=True)


def _write_manifest(root: Path, manifest: Manifest, mode: int) -> None:
    text = codec.dumps(manifest).encode()
    try:
        read_back = codec.loads(text, MANIFEST)
    except BundleError as error:
        raise RuntimeError(f"this build would write a bundle that cannot be opened: {error}") from error
    if read_back != manifest:
        raise RuntimeError(f"this build's {MANIFEST} reads back as another manifest: check the types of its fields")
    path = root / MANIFEST
    path.write_bytes(text)
    path.chmod(mode)
    _sync(path)


def _sync(path: Path) -> None:
    """Wait until the file or folder at ``path`` would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems flush files but not folders
            raise
    finally:
        os.close(descriptor)


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
