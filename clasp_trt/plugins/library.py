"""The TensorRT module: which one a backend means, how to get it, and a logger of it.

Whoever builds engines and whoever runs them share this and no more: the two sides exchange files.
"""

from __future__ import annotations

import platform
from importlib import import_module
from typing import Any

from clasp_trt.errors import BackendError

MODULES = {
    "tensorrt": ("tensorrt",),
    # the bindings alone are real wheels on PyPI; the umbrella package only adds the first name
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
"""The names of a backend's module, of which any will do."""


def load_library(backend: str) -> Any:
    """The module of ``backend``, a key of :data:`MODULES`.

    Raises :class:`BackendError` that says what to install on this platform.
    """
    reason = ""
    for name in MODULES[backend]:
        try:
            return import_module(name)
        except Exception as error:  # a missing library of its own, or of the driver's: whatever it is, it is not usable
            if not (isinstance(error, ModuleNotFoundError) and error.name == name):
                reason = f" ({error})"
    raise BackendError(
        f"backend {backend} needs {MODULES[backend][-1]}, which cannot be imported{reason}; {_remedy(backend)}"
    )


def error_logger(trt: Any, errors: list[str]) -> Any:
    """An ``ILogger`` that appends error messages to ``errors``, one line each, and drops the rest.

    TensorRT keeps no reference to it: it must outlive whatever it was given to.
    """
    severities = (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR)

    class Errors(trt.ILogger):  # type: ignore[misc]  # the module has no types
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # TensorRT wants its own initialiser, not super()'s

        def log(self, severity: Any, message: str) -> None:
            if severity in severities:
                errors.append(" ".join(str(message).split()))

    return Errors()


def _remedy(backend: str) -> str:
    """How to get the module of ``backend`` on this platform."""
    system, machine = platform.system(), platform.machine()
    if backend == "tensorrt-rtx":
        if (system, machine) == ("Linux", "x86_64"):
            return "pip install 'clasp-trt[tensorrt-rtx]'"
        return f"it has no package for {system} {machine}: build its bundles on Linux x86_64, and run them there"
    if machine == "aarch64":
        return (
            "JetPack brings it: sudo apt install python3-libnvinfer, and make the environment with "
            "python3 -m venv --system-site-packages"
        )
    return "pip install 'clasp-trt[tensorrt]'"
