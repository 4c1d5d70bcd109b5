"""The benchmark of a start: its parts are the whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.startup import PARTS, start
from clasp_trt.bundle import Bundle


def test_parts_of_a_start_are_the_whole(built: Callable[..., Bundle]) -> None:
    found = start(built().root)
    assert sum(found[part] for part in PARTS) == pytest.approx(found["all"])
    assert min(found[part] for part in PARTS) > 0
    assert found["modules"] > 100
