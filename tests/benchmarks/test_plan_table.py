"""The tables of what fits which Jetson."""

from __future__ import annotations

from benchmarks.families import FAMILIES
from benchmarks.plan_table import DEVICES, SCHEMES, cell, planned, tables
from tests.house import ROOT


def test_the_page_has_what_the_command_prints() -> None:
    lines = "\n".join(tables()).rstrip()
    assert lines in (ROOT / "docs" / "planning-devices.md").read_text(encoding="utf-8")
    assert lines.count("\n| `") == len(FAMILIES) * len(SCHEMES)


def test_what_does_not_fit_says_what_it_needs() -> None:
    plan, finer = planned("llava", "orin-nano-8", "int8")
    assert not plan.pruned.memory.runs
    assert cell(plan, finer) == f"no: {plan.pruned.memory.needed / 1e9:.1f} GB needed"


def test_a_decoder_is_cut_finer_only_where_its_engines_could_not_be_built() -> None:
    plan, finer = planned("internvl", "orin-nano-8", "int4")
    assert finer
    assert plan.pruned.memory.fits
    assert "\\*" in cell(plan, finer)
    assert not any(planned("internvl", device, "int4")[1] for device in DEVICES[1:])
