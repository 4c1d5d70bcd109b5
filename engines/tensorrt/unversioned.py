"""TensorRT's library under its plain name.

To make a plugin, the parser of TensorRT for RTX opens ``libtensorrt_rtx.so``, and the process dies if the loader does
not find it; the wheel has ``libtensorrt_rtx.so.1`` alone. The loader then finds the library that is loaded already.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = "links"
"""Where the links are, in the folder of the engine. The builder's process works there and searches this relative path:
a full one would differ from build to build, and its length can move what lies in memory."""
_LIBRARY = re.compile(r"(?P<name>lib(?:tensorrt_rtx|nvinfer)\.so)\.[\d.]+")


@contextmanager
def unversioned_libraries(folder: Path) -> Iterator[None]:
    """Keeps links to the TensorRT libraries of this process in ``folder / FOLDER`` while the context lasts."""
    links = folder / FOLDER
    links.mkdir()
    try:
        for library in _loaded():
            match = _LIBRARY.fullmatch(library.name)
            if match is not None:
                (links / match["name"]).symlink_to(library)
        yield
    finally:
        shutil.rmtree(links)


def _loaded() -> set[Path]:
    """Files that are mapped into this process."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    return {Path(line[line.index("/") :]) for line in lines if "/" in line}
