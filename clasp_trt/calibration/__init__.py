"""Calibration (Appendix B.1): which vision layers a category mixes and how it splits its budget, searched on questions.

One module a step: :mod:`sampling` draws the questions, :mod:`candidates` says what is tried, :mod:`search` finds the
best of it, :mod:`answers` asks the bundle, :mod:`journal` keeps the answers, :mod:`calibrate` joins them.
"""

from clasp_trt.calibration.calibrate import LEAST, Options, calibrate
from clasp_trt.calibration.candidates import RATIOS
from clasp_trt.calibration.report import Line, Report, Searched
from clasp_trt.journal import journal_path

__all__ = ["LEAST", "RATIOS", "Line", "Options", "Report", "Searched", "calibrate", "journal_path"]
