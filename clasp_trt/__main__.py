"""``python -m clasp_trt`` is the command ``clasp-trt``."""

from __future__ import annotations

import sys

from clasp_trt.cli import main

if __name__ == "__main__":
    sys.exit(main())
