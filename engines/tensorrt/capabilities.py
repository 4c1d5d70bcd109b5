"""What TensorRT for RTX alone lets one choose: compute capabilities to compile for, and who allocates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def set_capabilities(trt: Any, config: Any, sms: Sequence[str]) -> None:
    """Makes ``config`` compile for every one of ``sms``, such as ``"8.9"``: one engine then runs on all of them.

    It will allocate nothing while it runs, so that a step can be recorded as a CUDA graph; a graph that cannot do
    without is refused when it is built.
    """
    config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    config.num_compute_capabilities = len(sms)
    for index, sm in enumerate(sms):
        config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{sm.replace('.', '')}"), index)
