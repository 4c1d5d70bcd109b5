"""Where the time and the memory of an answer go, for one bundle or for several in turn.

One module a step: :mod:`workload` says what is requested, :mod:`worker` starts a process for each bundle, in which
:mod:`child` answers and :mod:`runner` notes every graph's calls, :mod:`measure` takes turns, :mod:`stages` and
:mod:`statistics` sum up, :mod:`layers` reads the profiles of single nodes, :mod:`plot` and :mod:`trace` draw.
"""

from clasp_trt.tools.profile.layers import Node
from clasp_trt.tools.profile.measure import Options, profile
from clasp_trt.tools.profile.report import Measurement, Report
from clasp_trt.tools.profile.statistics import Ratio, Summary
from clasp_trt.tools.profile.workload import Workload

__all__ = ["Measurement", "Node", "Options", "Ratio", "Report", "Summary", "Workload", "profile"]
