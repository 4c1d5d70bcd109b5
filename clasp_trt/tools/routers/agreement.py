"""A router beside labels: how often it is right, and what it takes for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Agreement:
    """``counts[expected][said]`` of labelled prompts, both in the order of ``names``, whose last is Default."""

    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, names: Sequence[str], pairs: Iterable[tuple[str, str]]) -> Agreement:
        """Sums up pairs of the category expected and the one said."""
        found = Counter(pairs)
        return cls(tuple(names), tuple(tuple(found[expected, said] for said in names) for expected in names))

    @property
    def total(self) -> int:
        """Labelled prompts."""
        return sum(map(sum, self.counts))

    @property
    def right(self) -> int:
        """Prompts that were given their category."""
        return sum(self.counts[at][at] for at in range(len(self.names)))

    @property
    def fallbacks(self) -> int:
        """Prompts of another category that were answered as Default: the mistake that costs little."""
        return sum(row[-1] for row in self.counts[:-1])

    @property
    def wrong(self) -> int:
        """Prompts that were given a category that they do not have: the mistake that costs more."""
        return self.total - self.right - self.fallbacks
