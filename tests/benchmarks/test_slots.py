"""The benchmark of requests that are answered together: what it asks for, and what it tells of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks import slots
from clasp_trt.bundle import Bundle


def test_every_number_of_requests_is_a_row(built: Callable[..., Bundle], capsys: pytest.CaptureFixture[str]) -> None:
    slots.together(built().root, (1, 2), tokens=3, rounds=1, threads=1)
    _, _, *rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[0] for row in rows] == ["| 1", "| 2"]


def test_medians_are_of_each_figure() -> None:
    assert slots.medians([slots.Round(1, 30), slots.Round(9, 10), slots.Round(2, 20)]) == (2, 20)
