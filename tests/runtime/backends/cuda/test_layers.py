"""Times of layers, from what TensorRT reports to what ``profile --per-layer`` tells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from clasp_trt.bundle import Bundle
from clasp_trt.runtime.backends.cuda.backend import connect
from clasp_trt.runtime.backends.cuda.library import Library
from clasp_trt.runtime.pipeline import Pipeline
from tests.runtime.backends.cuda.conftest import VERSION
from tests.runtime.backends.cuda.null_driver import NullCuda
from tests.runtime.backends.cuda.null_tensorrt import LAYERS, NullTensorRT

pytest.importorskip("polygraphy")


def test_they_are_read_as_those_of_onnx_runtime(
    compiled: Callable[..., Bundle], photos: dict[str, Path], tmp_path: Path
) -> None:
    from clasp_trt.tools.profile import layers
    from clasp_trt.tools.profile.child import answer
    from clasp_trt.tools.profile.runner import Recorder
    from clasp_trt.tools.profile.workload import Workload

    bundle, cuda = compiled(), NullCuda()
    library = Library("tensorrt", NullTensorRT(cuda, bundle, VERSION))
    work = Workload((Image.open(photos["coffee"]),), "How many cups are there?", None, 3)
    with Recorder(connect(bundle, library, cuda, trace=tmp_path)) as recorder:
        pipeline = Pipeline(bundle, recorder)
        samples = [answer(pipeline, recorder, work) for _ in range(3)]
    assert cuda.left() == []
    found = layers.read(tmp_path, samples)
    times = {(node.graph, node.phase, node.name): node.milliseconds for node in found.nodes}
    steps = {"embed", "greedy", *(segment.graph for segment in bundle.manifest.segments)}
    assert times.keys() == {
        (graph.name, phase, f"{graph.name} layer {number}")
        for graph in bundle.manifest.graphs
        for phase in (layers.PREFILL, layers.DECODE)
        for number in range(LAYERS)
        if phase == layers.PREFILL or graph.name in steps
    }
    for (_, _, name), milliseconds in times.items():
        assert milliseconds == pytest.approx(int(name[-1]) + 0.5)
