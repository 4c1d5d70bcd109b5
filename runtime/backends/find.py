"""The backend that a bundle is built for, found by its name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from clasp_trt.bundle import PORTABLE, Bundle
from clasp_trt.errors import BackendError
from clasp_trt.runtime.backends.interface import Backend
from clasp_trt.shortage import is_shortage, shortage
from clasp_trt.targets import PROVIDERS

MODULES = {
    "onnxruntime": "clasp_trt.runtime.backends.ort",
    "tensorrt": "clasp_trt.runtime.backends.cuda.backend",
    "tensorrt-rtx": "clasp_trt.runtime.backends.cuda.backend",
}
"""Where each backend of a manifest has its ``open_backend``, which is :class:`Opens`; imported when it is asked for."""


class Opens(Protocol):
    """Opens a backend for a bundle; no graph is loaded yet."""

    def __call__(
        self, bundle: Bundle, *, threads: int | None, trace: Path | None, provider: str | None, timed: bool
    ) -> Backend[Any]:
        """``threads`` bounds the compute threads on the CPU, None for all; ``trace`` is a folder for each graph's own
        profile; ``provider`` is of ONNX Runtime, which alone is given one; with ``timed`` a call of a graph takes as
        long as the graph does. Raises :class:`BackendError` for what cannot be had."""


def backend_for(
    bundle: Bundle,
    *,
    threads: int | None = None,
    trace: Path | None = None,
    provider: str | None = None,
    timed: bool = False,
) -> Backend[Any]:
    """The backend that a bundle is built for, or ONNX Runtime with ``provider``; no graph is loaded yet.

    ``trace`` is a folder for each graph's own profile, which is whole when the graph is let go; it costs time. With
    ``timed`` a call of a graph takes as long as the graph does, also on a GPU, which otherwise goes on by itself.
    Raises :class:`clasp_trt.errors.BackendError` if this runtime or machine cannot run the bundle.
    """
    check_backend(bundle, provider)
    name = bundle.manifest.backend if provider is None else "onnxruntime"
    opens: Opens = module(name).open_backend
    return opens(bundle, threads=threads, trace=trace, provider=provider, timed=timed)


def check_backend(bundle: Bundle, provider: str | None = None) -> None:
    """Raises :class:`clasp_trt.errors.BackendError` for a bundle of a backend that this runtime does not have."""
    if provider is not None and provider not in PROVIDERS:
        raise BackendError(f"provider is {provider!r}, expected one of: {', '.join(PROVIDERS)}")
    if bundle.manifest.backend == PORTABLE:
        raise BackendError(
            f"{bundle.root} is a bundle for backend {PORTABLE}, which this runtime cannot run; "
            f"`clasp-trt build` the portable bundle or the checkpoint with --backend onnxruntime, or for a GPU"
        )


def module(name: str) -> ModuleType:
    """The module of backend ``name``. Raises :class:`BackendError` if the library that it is for does not load."""
    try:
        return import_module(MODULES[name])
    except ImportError as error:
        if is_shortage(error):
            raise shortage(f"to load {name}", error) from error
        raise BackendError(f"{name} cannot be imported ({error}); pip install {name}") from error
