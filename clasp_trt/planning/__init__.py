"""Will a model fit a device, and how fast can it be: from its ``config.json`` alone, before any download or build.

``docs/planning.md`` has the formulas, the assumptions, and how far the estimates were off where they could be checked.
"""

from __future__ import annotations

from clasp_trt.planning.advice import advise
from clasp_trt.planning.config import load_shape, shape_of, supported
from clasp_trt.planning.cuts import Cut
from clasp_trt.planning.machine import Machine, measure
from clasp_trt.planning.memory import Build, Memory
from clasp_trt.planning.plan import TEXT_TOKENS, Plan, Request, Side, make
from clasp_trt.planning.roofline import Stage, Timing
from clasp_trt.planning.shapes import DecoderShape, ModelShape, ProjectorShape, TowerShape

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
