"""CUDA's driver, through cuda-bindings."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from clasp_trt.errors import BackendError

MODULE = "cuda.bindings.driver"


def load_driver() -> Any:
    """The module ``cuda.bindings.driver``. Raises :class:`BackendError` that says how to get it."""
    try:
        return import_module(MODULE)
    except Exception as error:  # missing, or built for another Python or libc: whatever it is, it is not usable
        reason = "" if isinstance(error, ModuleNotFoundError) else f" ({error})"
        raise BackendError(
            f"a CUDA GPU is reached through {MODULE}, which cannot be imported{reason}; "
            "pip install cuda-bindings of the CUDA version of this machine's driver, such as 'cuda-bindings==12.*'"
        ) from error


def call(driver: Any, name: str, *arguments: Any) -> Any:
    """What the driver function ``name`` returns beside its status: nothing, one value, or a tuple of values.

    Raises :class:`RuntimeError` that names the function and CUDA's error.
    """
    status, *values = getattr(driver, name)(*arguments)
    if int(status) != 0:
        raise RuntimeError(f"{name} failed: {getattr(status, 'name', status)}")
    return values[0] if len(values) == 1 else tuple(values) or None
