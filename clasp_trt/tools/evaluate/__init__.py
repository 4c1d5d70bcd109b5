"""How often a bundle answers right, with each pruning method: questions in, accuracy per category out.

One module a step: :mod:`questions` reads them, :mod:`pictures` decodes ahead of the model, :mod:`answers` and
:mod:`evaluate` ask, :mod:`results` keeps the answers of a run that may be interrupted, :mod:`tally`, :mod:`statistics`
and :mod:`report` sum them up.
"""

from clasp_trt.tools.evaluate.answers import DEFAULT_MAX_NEW_TOKENS, Answer, Store
from clasp_trt.tools.evaluate.evaluate import evaluate
from clasp_trt.tools.evaluate.questions import Questions, check_categories
from clasp_trt.tools.evaluate.report import MethodReport, Report
from clasp_trt.tools.evaluate.statistics import Interval, Paired, Share, paired

__all__ = [
    "DEFAULT_MAX_NEW_TOKENS",
    "Answer",
    "Interval",
    "MethodReport",
    "Paired",
    "Questions",
    "Report",
    "Share",
    "Store",
    "check_categories",
    "evaluate",
    "paired",
]
