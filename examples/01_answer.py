"""Answer a question about a picture: ``python examples/01_answer.py [FOLDER]``, after ``00_build.py``.

No torch is needed from here on.
"""

import sys
from pathlib import Path

import clasp_trt

PICTURE = Path(clasp_trt.__file__).parent / "assets" / "questions" / "test-03.png"

pipe = clasp_trt.load(sys.argv[1] if len(sys.argv) > 1 else "example-bundle")
result = pipe.generate(PICTURE, "Read what is on the sign.")

print(f"answer: {result.text}")
print(f"category: {result.category}, first token after {result.timings_ms['ttft']:.0f} ms")
for number, stage in enumerate(result.kept):
    print(f"stage {number} keeps {len(stage.indices)} tokens, {stage.is_pivot.sum()} of them pivots")
