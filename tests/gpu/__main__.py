"""``python -m tests.gpu``: checks this project on the CUDA device of this machine and writes a page about it.

Needs a copy of the repository, nothing installed from it, and a Python with what :mod:`tests.gpu.harness.needs` lists.
Whatever else this machine lacks is skipped, and listed on the page as never run.
"""

from __future__ import annotations

import sys

from tests.gpu.harness.needs import missing

if __name__ == "__main__":
    if absent := missing():
        print(f"error: packages are missing for a check on a GPU: pip install {' '.join(absent)}", file=sys.stderr)
        sys.exit(2)
    from tests.gpu.harness.check import main

    sys.exit(main(sys.argv[1:]))
