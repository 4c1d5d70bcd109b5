"""Serve another policy without a new build: ``python examples/03_serve_a_policy.py [FOLDER]``, after ``00_build.py``.

A policy says, for each category of question, how vision layers are mixed and how many kept tokens are pivots. A loaded
bundle takes it as data, so that one process serves several; ``clasp-trt calibrate`` searches a good one.
"""

import dataclasses
import sys
from decimal import Decimal
from pathlib import Path

import clasp_trt

PICTURE = Path(clasp_trt.__file__).parent / "assets" / "questions" / "test-20.png"

pipe = clasp_trt.load(sys.argv[1] if len(sys.argv) > 1 else "example-bundle")
policies = {"the bundle's own": pipe.policy}
for name, ratio in (("no pivots", Decimal(0)), ("pivots alone", Decimal(1))):
    rows = tuple(dataclasses.replace(category, ratio=ratio) for category in pipe.policy.categories)
    policies[name] = dataclasses.replace(pipe.policy, categories=rows, provenance={"kind": "user"})
for name, policy in policies.items():
    result = pipe.variant(policy=policy).generate(PICTURE, "Is the star placed below or above the moon?")
    print(f"{name}: {result.kept[0].is_pivot.sum()} of {len(result.kept[0].indices)} pivots, answer {result.text}")
