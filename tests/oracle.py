"""A proposer for tests of what becomes of proposed tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Oracle:
    """Knows the answer, and errs now and then."""

    def __init__(self, answer: Sequence[int], seed: int) -> None:
        self._answer, self._rng, self.heard = answer, np.random.default_rng(seed), list[int]()

    def propose(self, ids: Sequence[int], most: int) -> Sequence[int]:
        assert most > 0
        found = list(self._answer[len(ids) : len(ids) + self._rng.integers(0, most + 1)])
        if found and self._rng.random() < 0.4:
            found[self._rng.integers(len(found))] = int(self._rng.integers(3, 300))
        return found

    def accepted(self, count: int) -> None:
        self.heard.append(count)
