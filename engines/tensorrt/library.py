"""The TensorRT module that builds: which one a backend means, its version, and how to get it."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from clasp_trt.errors import BackendError
from clasp_trt.targets import PORTABLE_OPSET, build_place

MODULES = {
    "tensorrt": ("tensorrt",),
    # the bindings alone are real wheels on PyPI; the umbrella package only adds the first name
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
TURING = "7.5"
"""TensorRT for RTX has no float32 matrix products for it; saliency and selection need them, so they are written out."""
RTX_SMS = (TURING, "8.0", "8.6", "8.9", "12.0", "12.1")
"""Compute capabilities that TensorRT for RTX compiles for, whatever GPU is here."""
OLD_OPSET = 20
"""What every supported TensorRT reads."""
KNOWS_PORTABLE = (10, 16)
"""The first TensorRT whose parser has every operator of the portable graphs: Attention came with 10.14, the rotary
embedding and the cache update after it. A parser may read an opset and still lack its new operators."""


@dataclass(frozen=True)
class Library:
    """A TensorRT module and what its ``version`` means; ``backend`` is a key of :data:`MODULES`."""

    backend: str
    module: Any
    version: str

    @property
    def ahead(self) -> bool:
        """Whether it builds for GPUs that are not here."""
        return build_place(self.backend) == "anywhere"

    @property
    def opset(self) -> int:
        """The opset to give its parser: that of the portable graphs, or :data:`OLD_OPSET`."""
        release = tuple(int(part) for part in self.version.split(".")[:2])
        return PORTABLE_OPSET if self.ahead or release >= KNOWS_PORTABLE else OLD_OPSET


def load(backend: str) -> Library:
    """Imports the module of ``backend``. Raises :class:`BackendError` that says what to install on this platform."""
    reason = ""
    for name in MODULES[backend]:
        try:
            module = import_module(name)
        except Exception as error:  # a missing library of its own, or of the driver's: whatever it is, it is not usable
            if not (isinstance(error, ModuleNotFoundError) and error.name == name):
                reason = f" ({error})"
        else:
            return Library(backend, module, str(module.__version__))
    raise BackendError(
        f"backend {backend} needs {MODULES[backend][-1]}, which cannot be imported{reason}; {remedy(backend)}"
    )


def remedy(backend: str) -> str:
    """How to get the module of ``backend`` on this platform."""
    system, machine = platform.system(), platform.machine()
    if backend == "tensorrt-rtx":
        if (system, machine) == ("Linux", "x86_64"):
            return "pip install 'clasp-trt[tensorrt-rtx]'"
        return f"it has no package for {system} {machine}: build on Linux x86_64 and copy the bundle here"
    if machine == "aarch64":
        return (
            "JetPack brings it: sudo apt install python3-libnvinfer, and make the environment with "
            "python3 -m venv --system-site-packages"
        )
    return "pip install 'clasp-trt[tensorrt]'"
