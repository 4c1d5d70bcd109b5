"""A build that would not fit is refused with what it needs and what to do."""

from __future__ import annotations

import pytest

from clasp_trt.bundle import Graph, TensorSpec
from clasp_trt.engines.tensorrt import memory
from clasp_trt.errors import BackendError


def _graph(name: str, layers: int = 0) -> Graph:
    caches = tuple(TensorSpec(f"past_{kind}_{n}", "float16", (1,)) for n in range(layers) for kind in ("key", "value"))
    return Graph(name, f"graphs/{name}.onnx", caches, ())


def test_a_limit_below_the_estimate() -> None:
    line = (
        r"^building segment_3 takes about 6\.2 GB \(0\.2 GB \+ 3 x its 2\.0 GB of weights\), more than "
        r"--max-build-memory, 4\.0 GB; "
    )
    finer = "build or export the checkpoint with --max-build-memory 4, which cuts the decoder finer$"
    with pytest.raises(BackendError, match=line + finer):
        memory.check(_graph("segment_3", layers=2), 2_000_000_000, 4_000_000_000)
    with pytest.raises(BackendError, match=f"{line}close other programs"):
        memory.check(_graph("segment_3", layers=1), 2_000_000_000, 4_000_000_000)
    memory.check(_graph("segment_3"), 2_000_000_000, 6_200_000_000)


def test_without_a_limit_what_is_available_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 10**9)
    with pytest.raises(BackendError, match=r"1\.0 GB"):
        memory.check(_graph("vision"), 10**9, None)
    monkeypatch.setattr(memory, "available", lambda: None)
    memory.check(_graph("vision"), 10**12, None)


def test_memory_that_ran_out_says_what_to_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 4_060_000_000)
    told = "building segment_0 ran out of memory: it needs about 6.2 GB; "
    told += "build or export the checkpoint with --max-build-memory"
    assert memory.exhausted(_graph("segment_0", layers=9), 2 * 10**9).startswith(f"{told} 4,")
    monkeypatch.setattr(memory, "available", lambda: None)
    assert memory.exhausted(_graph("segment_0", layers=9), 2 * 10**9).startswith(f"{told} GB,")


def test_this_machine_has_some_memory() -> None:
    free = memory.available()
    assert free is None or free > 0
