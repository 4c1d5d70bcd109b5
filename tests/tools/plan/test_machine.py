"""The machine as a target: measured, with plausible orders of magnitude and no more asked."""

from __future__ import annotations

import pytest

from clasp_trt.tools.plan import machine


def test_measured_figures_are_those_of_a_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_SIDE", 64)
    monkeypatch.setattr(machine, "_ROWS", 64)
    monkeypatch.setattr(machine, "_COLUMNS", 64)
    found = machine.measure()
    assert 1e6 < found.flops < 1e15
    assert 1e6 < found.bandwidth < 1e14
    assert found.memory > 2**28
