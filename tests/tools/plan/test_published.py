"""The errors that docs/planning.md states are those that the code makes."""

from __future__ import annotations

import re

from benchmarks.plan_error import published, readme, table
from tests.house import ROOT

PAGE = (ROOT / "docs" / "planning.md").read_text(encoding="utf-8")


def test_documented_errors_are_what_the_code_computes() -> None:
    assert table(list(published()), "published") in PAGE
    assert table(list(readme()), "measured") in PAGE


def test_no_published_figure_is_missed_by_more_than_the_page_says() -> None:
    (bound,) = re.findall(r"no row is off by more than (\d+) %", PAGE)
    assert max(abs(row.error) for row in published()) <= int(bound) / 100 + 0.005
