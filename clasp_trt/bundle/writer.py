"""Writing a bundle: whole or not at all, and never at the cost of an earlier one.

A bundle is written in a folder beside its destination, made durable, re-opened and verified there, and then
renamed. ``docs/bundle-format.md`` says what is found after an interruption at any moment.
"""

from __future__ import annotations

import dataclasses
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clasp_trt.brief import shown
from clasp_trt.bundle import codec, tree
from clasp_trt.bundle.errors import NotABundle, NotAFile, UnlistedFile, UnsafePath
from clasp_trt.bundle.manifest import MANIFEST, FileEntry, Manifest
from clasp_trt.bundle.reader import Bundle, read_manifest
from clasp_trt.errors import BundleError, OutputError
from clasp_trt.progress import ByteProgress
from clasp_trt.storage import folders

_FILE_MODE = 0o644


@contextmanager
def write(destination: str | os.PathLike[str], *, force: bool = False) -> Iterator[Writer]:
    """Make a bundle at ``destination``: put files under the ``root`` of the writer, then ``commit``.

    Until :meth:`Writer.commit` returns, nothing is at ``destination`` but what was there before; whatever
    ends the ``with`` block earlier removes everything that was written. ``force`` replaces an older bundle,
    and nothing else. Raises :class:`OutputError` for a destination that exists or cannot be written, also on
    behalf of code in the block whose files do not fit on the disk. Parent folders are made.
    """
    with folders.staged(destination, lambda target: _check_replaceable(target, force)) as folder:
        yield Writer(folder)


class Writer:
    """A bundle in the making, from :func:`write`. Files go under ``root``, in plain folders, no links."""

    def __init__(self, folder: folders.StagedFolder) -> None:
        self._folder = folder
        self.destination, self.root = folder.destination, folder.root

    def draft(self, manifest: Manifest) -> Bundle:
        """What lies under ``root`` by now as a bundle of ``manifest``, for what must be tried on the way: nothing of it
        was checked."""
        found, _ = tree.walk(self.root)
        there = {path: FileEntry(status.st_size, "") for path, status in found.items()}
        return Bundle(self.root, dataclasses.replace(manifest, files=there))

    def commit(self, manifest: Manifest, progress: ByteProgress | None = None) -> Bundle:
        """Seal the files under ``root`` with ``manifest``, verify, and move all of it to the destination.

        ``manifest.files`` is replaced by what lies under ``root``. ``progress`` hears of every byte twice:
        hashed, then verified. Raises :class:`OutputError` when the destination cannot take the bundle, and
        ``RuntimeError`` for a manifest that breaks the format, which is no user's mistake.
        """
        with self._folder.reported():
            complete = self._seal(manifest, progress)
        self._folder.publish()
        return Bundle(self.destination, complete)

    def _seal(self, manifest: Manifest, progress: ByteProgress | None) -> Manifest:
        """Set modes, flush and hash every file, write the manifest last, and verify all as a reader would."""
        found, inner = tree.walk(self.root)
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
            folders.sync(self.root / path)
            entries[path] = FileEntry(status.st_size, tree.sha256(self.root / path, advance))
        complete = dataclasses.replace(manifest, files=entries)
        _write_manifest(self.root, complete, file_mode)
        for folder in sorted(inner, reverse=True):
            (self.root / folder).chmod(folder_mode)
            folders.sync(self.root / folder)
        folders.sync(self.root)
        staged = Bundle.open(self.root)
        staged.verify(None if progress is None else lambda verified, _: progress(size + verified, 2 * size))
        return complete


def _check_replaceable(destination: Path, force: bool) -> None:
    """Nothing there, or with ``force`` a bundle and nothing but that bundle."""
    name = shown(destination)
    if not os.path.lexists(destination):
        return
    if not destination.is_dir():
        raise OutputError(f"{name}: exists and is not a folder; it is left as it is: choose another destination")
    try:
        if os.listdir(destination):
            _check_alone(destination)
            Bundle.open(destination)
    except (NotABundle, NotAFile, UnlistedFile, UnsafePath) as error:
        raise OutputError(f"{error} (the destination exists, and nothing but a bundle is ever replaced)") from None
    except BundleError:
        pass  # a damaged bundle is a bundle
    if not force:
        raise OutputError(f"{name}: exists; replace it with --force, or choose another destination")


def _check_alone(destination: Path) -> None:
    """Only what the manifest lists lies there: what a reader passes over is not ours to remove."""
    found, _ = tree.walk(destination)
    if others := found.keys() - read_manifest(destination).files.keys() - {MANIFEST}:
        raise UnlistedFile(f"{shown(destination)}: {shown(min(others))}: not listed in {MANIFEST}; move it elsewhere")


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
    folders.sync(path)
