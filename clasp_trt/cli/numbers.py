"""Shares and ratios as tables show them: in %, with the ends of their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clasp_trt.tools.evaluate import Interval, Share


def percent(value: float | None, interval: Interval | None = None, digits: int = 0) -> str:
    """A number of 1 in %, and with ``digits`` after the point the ends of its interval; "-" for None."""
    if value is None:
        return "    -"
    return f"{100 * value:5.1f}" + ("" if interval is None else f" {ends(interval, digits)}")


def share_percent(share: Share) -> str:
    """A share with its interval in whole per cent: more would not fit ten methods side by side."""
    return percent(share.value, share.interval)


def ends(interval: Interval, digits: int = 0) -> str:
    """An interval of numbers of 1, in %."""
    return f"({100 * interval.low:.{digits}f}-{100 * interval.high:.{digits}f})"
