"""Compare pruning methods: ``python examples/02_compare_methods.py [FOLDER]``, after ``00_build.py``.

A variant shares the loaded graphs, and an encoded picture runs the vision tower once for all of them.
``clasp-trt eval`` does the same on a file of questions, and counts.
"""

import sys
from pathlib import Path

import clasp_trt
from clasp_trt.methods import METHODS

PICTURE = Path(clasp_trt.__file__).parent / "assets" / "questions" / "test-11.png"

pipe = clasp_trt.load(sys.argv[1] if len(sys.argv) > 1 else "example-bundle")
seen = pipe.encode(PICTURE)
for name, method in METHODS.items():
    result = pipe.variant(method=method).generate(seen, "Count the crosses you see.")
    print(f"{name:12} {result.text:8} {result.timings_ms['ttft']:6.1f} ms  ({method.summary})")
