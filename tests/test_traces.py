"""The tests' own cache of traces gives what the tracer would."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest

from clasp_trt.export import trace
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.family import family_of
from tests import traces


def _graphs(checkpoint: Path, layers: tuple[int, ...]) -> list[bytes]:
    made = family_of(Checkpoint.open(str(checkpoint)))
    graphs = made.vision_graph(layers, "float32"), made.projector_graph(len(layers), "float32")
    return [ir.to_proto(graph).SerializeToString(deterministic=True) for graph in graphs]


@pytest.mark.full
def test_what_was_traced_before_is_the_trace_byte_for_byte(
    tracer: traces.Capture, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def counted(*told: object) -> object:
        nonlocal calls
        calls += 1
        return tracer(*told)  # type: ignore[arg-type]

    monkeypatch.setattr(trace, "capture", tracer)
    traced = _graphs(checkpoint, (0, 1))
    monkeypatch.setattr(trace, "capture", traces.kept_in(tmp_path, counted))
    assert _graphs(checkpoint, (0, 1)) == traced
    assert calls == 2
    monkeypatch.setattr(trace, "capture", traces.kept_in(tmp_path, counted))
    assert _graphs(checkpoint, (0, 1)) == traced
    assert calls == 2
    assert _graphs(checkpoint, (0, 2)) != traced
    assert calls == 3, "the projector depends on the number of layers alone"
