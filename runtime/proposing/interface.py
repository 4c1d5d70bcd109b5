"""What proposes tokens, and the count of what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol


class Proposer(Protocol):
    """Proposes how one answer goes on. What it says decides how many tokens a step gives, never which."""

    def propose(self, ids: Sequence[int], most: int) -> Sequence[int]:
        """Up to ``most`` tokens that may follow ``ids``, which are those of the answer so far, one at least."""

    def accepted(self, count: int) -> None:
        """Hears how many of the last proposed tokens were right."""


class Pace:
    """How many tokens to propose: up to ``most``, fewer after a wrong one, and after none twice as many again. Each row
    of a step has its price, and so may a proposal."""

    def __init__(self, most: int) -> None:
        self._most = self._wanted = most
        self._proposed = 0

    def next(self, most: int) -> int:
        """How many now, where ``most`` may be."""
        return min(most, self._wanted)

    def proposed(self, count: int) -> None:
        """So many were found."""
        self._proposed = count

    def heard(self, count: int) -> None:
        """So many of them were right."""
        if self._proposed:
            self._wanted = min(self._most, 2 * count if count == self._proposed else count + 1)


@dataclass
class Speculation:
    """Tokens that were ``proposed`` in all ``steps`` after the first token, those that were ``accepted`` of them, and
    the ``tokens`` that the steps gave."""

    proposed: int = 0
    accepted: int = 0
    steps: int = 0
    tokens: int = 0

    @property
    def tokens_per_step(self) -> float:
        """1 where nothing was accepted; 0 without a step."""
        return self.tokens / self.steps if self.steps else 0.0

    def __str__(self) -> str:
        return f"{self.accepted} of {self.proposed} proposed tokens accepted, {self.tokens_per_step:.2f} tokens a step"

    def to_json(self) -> dict[str, float]:
        """The same for programs."""
        return {**asdict(self), "tokens_per_step": self.tokens_per_step}
