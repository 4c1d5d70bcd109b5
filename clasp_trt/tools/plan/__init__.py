"""Will a model fit a device, and how fast can it be: from its ``config.json`` alone, before any download or build.

``docs/planning.md`` has the formulas, the assumptions, and how far the estimates were off where they could be checked.
"""

from __future__ import annotations

from clasp_trt.chain import Cut
from clasp_trt.tools.plan.advice import advise
from clasp_trt.tools.plan.machine import Machine, measure
from clasp_trt.tools.plan.memory import Build, Memory
from clasp_trt.tools.plan.plan import TEXT_TOKENS, Plan, Request, Side, make
from clasp_trt.tools.plan.roofline import Stage, Timing

__all__ = [
    "TEXT_TOKENS",
    "Build",
    "Cut",
    "Machine",
    "Memory",
    "Plan",
    "Request",
    "Side",
    "Stage",
    "Timing",
    "advise",
    "make",
    "measure",
]
