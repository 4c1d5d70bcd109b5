"""Calibration (Appendix B.1): which vision layers a category mixes and how it splits its budget, searched on questions.

One module a step: :mod:`sampling` draws the questions, :mod:`candidates` says what is tried, :mod:`search` finds the
best of it, :mod:`answers` asks the bundle, :mod:`journal` keeps the answers, :mod:`calibrate` joins them.
"""

from clasp_trt.storage.journal import journal_path
from clasp_trt.tools.calibrate.calibrate import LEAST, Options, calibrate
from clasp_trt.tools.calibrate.candidates import RATIOS
from clasp_trt.tools.calibrate.report import Line, Report, Searched

__all__ = ["LEAST", "RATIOS", "Line", "Options", "Report", "Searched", "calibrate", "journal_path"]
