"""The router's categories of questions in VQAv2's manner against the paper's of VQAv2."""

from __future__ import annotations

import pytest

from benchmarks.router_shares import paper, shares
from clasp_trt.policy import CATEGORY_NAMES

APART = {"object identification": 0.05, "spatial relations": 0.02, "action / interaction": 0.05, "counting": 0.02}
"""Where a name ends and a place or an action begins, and what nobody doubts."""


@pytest.mark.parametrize("name", APART)
def test_names_places_and_actions_have_the_papers_shares(name: str) -> None:
    number = CATEGORY_NAMES.index(name)
    assert shares()[number] == pytest.approx(paper()[number], abs=APART[name])
