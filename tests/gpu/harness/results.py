"""What a check on a GPU found: plain data that passes through JSON, and how a part of it is judged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.gpu.harness.environment import Environment

COMPLETE = "complete"
CUT_SHORT = ("ended with", "stopped after")  # how a part is said to have crashed, or hung


@dataclass(frozen=True)
class Part:
    """One file of checks, ``tests/gpu/<module>.py``, which runs in a process of its own for ``seconds`` at most.

    ``proves`` says what is known once it has passed, in words that can follow "never run: ".
    """

    module: str
    proves: str
    seconds: int


PARTS = (  # where a library is missing a part ends at once, and leaves its time to those behind it
    Part("test_kernels", "every kernel against the numpy reference, and the same bits from run to run", 200),
    Part("test_launcher", "what a plugin carries, launched through the driver and from a CUDA graph", 60),
    Part("test_timing", "time of the selection against other implementations", 120),
    Part("test_plugin_engines", "TensorRT engines with the plugins inside, against the reference", 120),
    Part("test_generation", "answers of the GPU runtime against those of the CPU", 150),
    Part("test_sanitizer", "compute-sanitizer on the kernels: memcheck and racecheck", 220),
    Part("test_properties", "the property tests of the emulated kernels, with the device in the emulator's place", 120),
)


@dataclass
class Outcome:
    """What one part found. ``skipped`` counts by reason; ``ended`` is COMPLETE or says what cut the part short."""

    module: str
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    facts: dict[str, list[Any]] = field(default_factory=dict)
    seconds: float = 0.0
    ended: str = "never started"

    @property
    def verdict(self) -> str:
        """``failed``, ``not run``, ``passed in part`` or ``passed``."""
        if self.failed or self.ended.startswith(CUT_SHORT):
            return "failed"
        if not self.passed:
            return "not run"
        return "passed in part" if self.skipped else "passed"

    @property
    def gaps(self) -> list[str]:
        """Why something of the part did not run, a reason each."""
        reasons = list(self.skipped)
        return reasons if self.ended == COMPLETE else [*reasons, self.ended]


@dataclass(frozen=True)
class Results:
    """One check: ``date`` in UTC, such as ``2026-11-21 07:00``, and ``command`` as it can be repeated."""

    date: str
    command: str
    environment: Environment
    outcomes: tuple[Outcome, ...]

    @property
    def is_clean(self) -> bool:
        return all(outcome.verdict != "failed" for outcome in self.outcomes)

    def of(self, module: str) -> Outcome:
        """The outcome of a part; one that never started if it is missing."""
        return next((each for each in self.outcomes if each.module == module), Outcome(module))

    def facts(self, name: str) -> Sequence[Any]:
        """All that checks noted under ``name``."""
        return [fact for outcome in self.outcomes for fact in outcome.facts.get(name, [])]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @staticmethod
    def from_json(text: str) -> Results:
        read = json.loads(text)
        return Results(
            read["date"],
            read["command"],
            Environment(**read["environment"]),
            tuple(Outcome(**outcome) for outcome in read["outcomes"]),
        )


def write(path: Path, text: str) -> None:
    """Writes ``path`` whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
