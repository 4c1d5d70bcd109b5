"""Many requests at once on one loaded bundle."""

from clasp_trt.runtime.engine.engine import Engine, open_engine
from clasp_trt.runtime.engine.request import Request

__all__ = ["Engine", "Request", "open_engine"]
