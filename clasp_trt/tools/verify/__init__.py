"""``verify``: whether a bundle is whole, and whether each of its graphs computes what its checkpoint computes."""

from __future__ import annotations

from clasp_trt.tools.verify.integrity import Integrity, check
from clasp_trt.tools.verify.parity import compare
from clasp_trt.tools.verify.report import FACTOR, Check, Drift, Report

__all__ = ["FACTOR", "Check", "Drift", "Integrity", "Report", "check", "compare"]
