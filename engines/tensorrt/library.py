"""The TensorRT that builds, and what its version means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clasp_trt.plugins.library import load_library
from clasp_trt.targets import PORTABLE_OPSET, build_place

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
    """A TensorRT ``module`` and what its ``version`` means; ``backend`` is what the module is of."""

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
    """The module of ``backend``. Raises :class:`BackendError` that says what to install on this platform."""
    module = load_library(backend)
    return Library(backend, module, str(module.__version__))
