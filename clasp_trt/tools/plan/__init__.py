"""Will a model fit a device, and how fast can it be: from its ``config.json`` alone, before any download or build.

``docs/planning.md`` has the formulas, the assumptions, and how far the estimates were off where they could be checked.
"""

from __future__ import annotations

from clasp_trt.chain import Cut
from clasp_trt.tools.plan.advice import advise
from clasp_trt.tools.plan.config import load_shape, shape_of, supported
from clasp_trt.tools.plan.machine import Machine, measure
from clasp_trt.tools.plan.memory import Build, Memory
from clasp_trt.tools.plan.plan import TEXT_TOKENS, Plan, Request, Side, make
from clasp_trt.tools.plan.roofline import Stage, Timing
from clasp_trt.tools.plan.shapes import DecoderShape, ModelShape, ProjectorShape, TowerShape

__all__ = [
    "TEXT_TOKENS",
    "Build",
    "Cut",
    "DecoderShape",
    "Machine",
    "Memory",
    "ModelShape",
    "Plan",
    "ProjectorShape",
    "Request",
    "Side",
    "Stage",
    "Timing",
    "TowerShape",
    "advise",
    "load_shape",
    "make",
    "measure",
    "shape_of",
    "supported",
]
