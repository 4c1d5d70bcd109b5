"""What is attacked: a random checkpoint as a ``portable`` bundle, and as the ``bundle`` that answers.

``python -m tests.attack.material FOLDER`` makes both.
"""

from __future__ import annotations

import sys
from pathlib import Path


def make(folder: Path) -> None:
    """Writes ``folder/portable`` and ``folder/bundle``."""
    from clasp_trt.tools.build.compiler import build
    from examples import random_llava

    checkpoint = random_llava.make(folder / "checkpoint", random_llava.PRESETS["tiny"])
    portable = build(checkpoint, folder / "portable", target=None, budget=8, max_context=256)
    build(portable.root, folder / "bundle")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
