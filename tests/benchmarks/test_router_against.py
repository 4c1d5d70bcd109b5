"""The comparison of two routers: what changed, and how sure that is."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.router_against import compare, interval
from clasp_trt.policy import CATEGORY_NAMES
from clasp_trt.runtime.routing.folder import SHIPPED


def test_phrasings_are_drawn_whole() -> None:
    """Of a hundred prompts each, one all better and one unchanged: half of the draws are one of them twice."""
    change = np.repeat([1, 0], 100)
    assert interval(change, np.repeat([0, 1], 100)) == (0.0, 1.0)
    low, high = interval(change, np.arange(200))
    assert 0.4 < low < 0.5 < high < 0.6


@pytest.mark.full
def test_a_router_is_no_better_than_itself() -> None:
    found = compare(SHIPPED, per_category=9)
    assert {each.kind for each in found} > set(CATEGORY_NAMES)
    assert all(each.before == each.now and each.interval == (0.0, 0.0) for each in found)
