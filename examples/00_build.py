"""Build a bundle: ``python examples/00_build.py [FOLDER]``.

A checkpoint and a token budget go in, ONNX graphs come out. It takes seconds on a CPU and downloads nothing: the
checkpoint, 3 M parameters, comes with the package. Any LLaVA folder or hub id goes in its place.
"""

import sys
from pathlib import Path

import clasp_trt

CHECKPOINT = Path(clasp_trt.__file__).parent / "assets" / "clasp-tiny"

folder = sys.argv[1] if len(sys.argv) > 1 else "example-bundle"
bundle = clasp_trt.build(CHECKPOINT, folder, schedule=(42, 30, 25), policy=CHECKPOINT / "policy.json", force=True)

manifest = bundle.manifest
print(f"{folder}: {manifest.model.name} in {len(manifest.graphs)} graphs")
print(f"pruning: {manifest.schedule.describe()}")
