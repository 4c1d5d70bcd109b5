"""The benchmark of what a step takes outside its graphs: what it counts, and that it leaves ONNX Runtime as it was."""

from __future__ import annotations

from collections.abc import Callable

import onnxruntime as ort

from benchmarks.step_overhead import measure
from clasp_trt.bundle import Bundle
from clasp_trt.chain import names


def test_a_step_is_its_graphs_and_what_is_outside(built: Callable[..., Bundle]) -> None:
    bundle, original = built(), ort.InferenceSession.run_with_iobinding
    found = measure(bundle.root, tokens=4, rounds=1)
    assert found.graphs == len(bundle.manifest.segments) + 1, f"the segments and {names.EMBED}"
    assert 0 < found.outside < found.whole
    assert ort.InferenceSession.run_with_iobinding is original
