"""What a peer in an environment of its own answers with, by the lines of :mod:`benchmarks.worker`.

Needs the standard library alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from benchmarks.worker import Sample


def enough(tokens: Sequence[int], wanted: int) -> tuple[int, ...]:
    """``tokens`` if they are as many as ``wanted``; RuntimeError otherwise: answers have one length."""
    if len(tokens) != wanted:
        raise RuntimeError(f"the answer has {len(tokens)} tokens, expected {wanted}")
    return tuple(tokens)


def clocked(
    start: float, marks: Sequence[float], tokens: tuple[int, ...], prompt_tokens: int, peak_rss_mb: float
) -> Sample:
    """The answer whose request came at ``start`` and whose tokens came at ``marks``, in seconds of one clock."""
    return Sample(
        ttft_ms=(marks[0] - start) * 1e3,
        tpot_ms=tuple((after - before) * 1e3 for before, after in pairwise(marks)),
        tokens=tokens,
        prompt_tokens=prompt_tokens,
        peak_rss_mb=peak_rss_mb,
    )
