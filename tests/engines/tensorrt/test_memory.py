"""A build that would not fit is refused with what it needs and what to do."""

from __future__ import annotations

import pytest

from clasp_trt.engines.tensorrt import memory
from clasp_trt.errors import BackendError


def test_a_limit_below_the_estimate() -> None:
    line = (
        r"^building segment_3 takes about 6\.8 GB \(0\.2 GB \+ 3\.3 x its 2\.0 GB of weights\), more than "
        r"--max-build-memory, 4\.0 GB; close other programs"
    )
    with pytest.raises(BackendError, match=line):
        memory.check("segment_3", 2_000_000_000, 4_000_000_000)
    memory.check("segment_3", 2_000_000_000, 6_800_000_000)


def test_without_a_limit_what_is_available_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 10**9)
    with pytest.raises(BackendError, match=r"more than what is available here, 1\.0 GB"):
        memory.check("vision", 10**9, None)
    monkeypatch.setattr(memory, "available", lambda: None)
    memory.check("vision", 10**12, None)


def test_this_machine_has_some_memory() -> None:
    free = memory.available()
    assert free is None or free > 0
