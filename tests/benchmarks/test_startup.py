"""The benchmark of a start: its parts are the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.startup import PARTS, start
from clasp_trt.bundle import Bundle


def test_parts_of_a_start_are_the_whole(built: Callable[..., Bundle], tmp_path: Path) -> None:
    found = start(built().root, tmp_path)
    assert sum(found[part] for part in PARTS) == pytest.approx(found["all"])
    assert min(found[part] for part in PARTS) > 0
    assert found["modules"] > 100
