"""What a comparison found: one check for each output of each stage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from clasp_trt.errors import ClaspError

FACTOR = 8.0
"""How many times the error of torch in a precision a graph in that precision may be off: sums are taken in another
order there, and worst cases of two such computations differ."""


class Drift(ClaspError):
    """A graph of a bundle that does not compute what the checkpoint computes."""


@dataclass(frozen=True)
class Check:
    """``output`` of ``stage``, the graph in file ``path``, against the checkpoint.

    ``error`` is the largest absolute difference (NaN where a value is not finite), ``relative`` the same over the
    largest magnitude that the checkpoint gives there. ``baseline`` is the error of the checkpoint's own modules in the
    bundle's precision; what must agree exactly has a ``tolerance`` of 0.
    """

    stage: str
    output: str
    path: str
    error: float
    relative: float
    baseline: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance  # false for NaN

    def describe(self) -> str:
        """The difference in words."""
        if math.isnan(self.error):
            return "has values that are not finite"
        if self.tolerance == 0:
            return "differs where it must agree exactly"
        return (
            f"is off by {self.error:.1e}, {self.error / self.tolerance:.3g} times the {self.tolerance:.1e} allowed "
            f"(the precision alone costs {self.baseline:.1e})"
        )

    def to_json(self) -> dict[str, object]:
        """A JSON object; an error that is not finite is null."""
        numbers = {name: getattr(self, name) for name in ("error", "relative", "baseline", "tolerance")}
        told = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        return {"stage": self.stage, "output": self.output, "path": self.path, **told, "passed": self.passed}


@dataclass(frozen=True)
class Report:
    """All checks in the order in which an answer computes them; ``cause`` says what else explains a drift, and
    ``skipped`` what could not be compared. ``rounding`` is by how much the rounding of weights changed them, by part,
    root mean square over that of the weights."""

    bundle: str
    checkpoint: str
    precision: str
    category: str
    prompt_tokens: int
    checks: tuple[Check, ...]
    cause: str | None = None
    skipped: tuple[str, ...] = ()
    rounding: Mapping[str, float] = field(default_factory=dict)

    @property
    def first_drift(self) -> Check | None:
        """The first check that failed."""
        return next((check for check in self.checks if not check.passed), None)

    def require(self) -> None:
        """Raises :class:`Drift` that names the first stage that drifts, if any does."""
        drift = self.first_drift
        if drift is not None:
            why = self.cause or f"it was given the inputs of {self.checkpoint}, so the fault lies in it"
            raise Drift(
                f"{self.bundle}: {drift.path}: {drift.output} of {drift.stage} {drift.describe()}; {why}; "
                "build the bundle again"
            )

    def to_json(self) -> dict[str, object]:
        """A JSON object."""
        drift = self.first_drift
        return {
            "checkpoint": self.checkpoint,
            "precision": self.precision,
            "category": self.category,
            "prompt_tokens": self.prompt_tokens,
            "factor": FACTOR,
            "checks": [check.to_json() for check in self.checks],
            "first_drift": None if drift is None else drift.to_json(),
            "cause": self.cause,
            "skipped": list(self.skipped),
            "rounding": dict(self.rounding),
        }
