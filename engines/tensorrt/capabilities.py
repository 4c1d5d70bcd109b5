"""Compute capabilities to compile for, which TensorRT for RTX alone lets one choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def set_capabilities(trt: Any, config: Any, sms: Sequence[str]) -> None:
    """Makes ``config`` compile for every one of ``sms``, such as ``"8.9"``: one engine then runs on all of them."""
    config.num_compute_capabilities = len(sms)
    for index, sm in enumerate(sms):
        config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{sm.replace('.', '')}"), index)
