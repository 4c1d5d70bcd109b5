"""Writes a router folder: whole or not at all, and never in place of anything but a router."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clasp_trt.errors import OutputError
from clasp_trt.runtime.routing.folder import SPEC, RouterSpec
from clasp_trt.storage import folders


@contextmanager
def router_folder(output: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """A folder beside ``output`` to write ``router.*`` files to, which becomes ``output`` when the block ends well.

    ``force`` replaces an older router, and nothing else. Raises :class:`OutputError` for a destination that is there
    already or cannot be written, before the block runs.
    """
    with folders.staged(output, lambda target: _check_replaceable(target, force)) as folder:
        yield folder.root
        for path in (*folder.root.iterdir(), folder.root):
            folders.sync(path)
        folder.publish()


def _check_replaceable(target: Path, force: bool) -> None:
    if not target.parent.is_dir():
        raise OutputError(f"{target}: there is no folder {target.parent}; make it first")
    if not target.exists():
        return
    if not target.is_dir():
        raise OutputError(f"{target}: is not a folder; choose another destination")
    names = [path.name for path in target.iterdir()]
    if not names:
        return
    if SPEC not in names or not all(map(RouterSpec.owns, names)):
        raise OutputError(f"{target}: exists and is no router; nothing but a router is ever replaced")
    if not force:
        raise OutputError(f"{target}: exists; replace it with --force, or choose another destination")
