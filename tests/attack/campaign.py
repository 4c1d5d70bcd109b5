"""All tries of a kind, and what came of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.attack.kinds import MINUTES, Kind
from tests.attack.worker import Worker

WARM = 0.1
"""Share of a child's tries after which its memory counts: before, caches and pools fill."""


@dataclass
class Outcome:
    """``failures`` are pairs of a number and what failed. ``growth`` is what the largest of the children grew, in
    bytes, from its warm state."""

    kind: str
    tried: int = 0
    failures: list[tuple[int, str]] = field(default_factory=list)
    growth: int = 0
    seconds: float = 0.0

    @property
    def held(self) -> int:
        return self.tried - len(self.failures)

    def to_json(self) -> dict[str, object]:
        """A JSON object."""
        return {
            "kind": self.kind,
            "tried": self.tried,
            "held": self.held,
            "failed": len(self.failures),
            "growth_mb": round(self.growth / 1e6, 1),
            "seconds": round(self.seconds, 1),
            "failures": [{"number": number, "what": what} for number, what in self.failures],
        }


def campaign(kind: Kind, material: Path, seed: int, minutes: float) -> Outcome:
    """Tries numbers from 0, as many as ``minutes`` are worth, and no longer than the kind's share of them."""
    tries = max(1, round(kind.tries * minutes / MINUTES))
    return throw(kind, material, seed, range(tries), 60 * minutes * kind.share)


def throw(kind: Kind, material: Path, seed: int, numbers: range, seconds: float) -> Outcome:
    """Tries ``numbers`` in turn until all are done or ``seconds`` are over."""
    outcome = Outcome(kind.name)
    warm: int | None = None
    lived = 0
    with Worker(kind, material, seed) as worker:
        worker.start()
        began = time.monotonic()
        for number in numbers:
            if time.monotonic() - began > seconds:
                break
            reply = worker.ask(number)
            outcome.tried += 1
            if reply.failed is not None:
                outcome.failures.append((number, reply.failed))
            lived = 0 if reply.rss is None else lived + 1
            if reply.rss is None:
                warm = None
            elif warm is None and lived >= WARM * len(numbers):
                warm = reply.rss
            if warm is not None and reply.rss is not None:
                outcome.growth = max(outcome.growth, reply.rss - warm)
        outcome.seconds = time.monotonic() - began
    return outcome
