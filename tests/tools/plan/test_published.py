"""The errors that docs/planning.md states are those that the code makes."""

from __future__ import annotations

import statistics

from benchmarks.plan_error import readme
from benchmarks.plan_published import published, summary, table
from benchmarks.published import figures
from tests.house import ROOT

PAGE, DEVICES = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("planning.md", "planning-devices.md"))


def test_documented_errors_are_what_the_code_computes() -> None:
    rows = list(published())
    assert summary(rows) in PAGE
    assert table(rows, "published") in DEVICES
    assert table(readme(), "measured") in PAGE


def test_the_middle_of_the_errors_of_every_kind_is_within_a_tenth() -> None:
    rows = list(published())
    for kind in ("vision", "prefill", "decode", "memory"):
        assert statistics.median(abs(row.error) for row in rows if row.kind == kind) <= 0.105


def test_a_figure_is_cited_and_on_a_device_that_is_known() -> None:
    for figure in figures():
        assert figure.source.url.startswith("https://"), figure
        assert figure.prompt >= figure.visual, figure
        assert any(value is not None for value in (figure.prefill_ms, figure.speed)), figure
