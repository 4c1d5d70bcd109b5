"""Shares in tables."""

from __future__ import annotations

from clasp_trt.cli.numbers import ends, percent, share_percent
from clasp_trt.tools.evaluate import Interval, Share


def test_shares_stand_under_each_other() -> None:
    assert percent(0.0567) == "  5.7"
    assert percent(1.0, Interval(0.951, 1.0)) == "100.0 (95-100)"
    assert percent(0.5, Interval(0.4, 0.61), digits=1) == " 50.0 (40.0-61.0)"
    assert percent(None) == "    -"


def test_the_interval_of_a_share_is_its_own() -> None:
    share = Share(9, 10)
    assert share_percent(share) == f" 90.0 {ends(share.interval)}"
    assert ends(share.interval) == "(60-98)"
