"""The page of sparse answers is of its figures."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.sparsity_accuracy import SETTINGS, name, page


def test_the_page_is_of_its_figures() -> None:
    docs = Path(__file__).parents[2] / "docs"
    told = json.loads((docs / "sparsity-accuracy.json").read_text())
    assert [row["name"] for row in told["settings"]] == [name(each) for each in SETTINGS]
    assert page(told) == (docs / "sparsity-accuracy.md").read_text()
