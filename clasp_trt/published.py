"""The published schedules, after SparseVLM: what three stages keep of 576 visual tokens in 32 decoder layers."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType

PUBLISHED_TOKENS = 576
PUBLISHED_LAYERS = 32
PUBLISHED_PRUNE_LAYERS = (2, 6, 15)
PUBLISHED_KEEPS: Mapping[int, tuple[int, int, int]] = MappingProxyType(
    {192: (300, 200, 110), 128: (303, 110, 36), 96: (238, 48, 26), 64: (66, 30, 17)}
)
"""What the stages keep, by the budget that they are called."""


def scaled_keeps(published: int, tokens: int) -> tuple[int, ...]:
    """The stages of the published budget ``published`` as the same fractions of ``tokens`` visual tokens, for
    :func:`clasp_trt.schedule.given`.

    Halves round up, and of very few tokens each stage still keeps one more than the next.

    The mean over layers is what the places of the stages make it, not ``published / 576`` of ``tokens``.
    """
    keeps: list[int] = []
    for keep in reversed(PUBLISHED_KEEPS[published]):
        nearest = int(Fraction(keep * tokens, PUBLISHED_TOKENS) + Fraction(1, 2))
        keeps.append(max(nearest, keeps[-1] + 1 if keeps else 1))
    return tuple(reversed(keeps))
