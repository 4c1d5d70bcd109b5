"""A third backend, written by the steps of CONTRIBUTING.md: ONNX Runtime on numpy's arrays, without its bindings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from clasp_trt.bundle import Bundle, Graph
from clasp_trt.errors import BackendError
from clasp_trt.runtime.backends.interface import Backend, Runner
from clasp_trt.runtime.backends.memory import HostMemory

Array = NDArray[Any]


class PlainBackend(Backend[Array]):
    """Graphs compute on the CPU, and caches are copied."""

    def load_graph(self, path: Path, graph: Graph) -> Runner[Array]:
        try:
            session = ort.InferenceSession(os.fspath(path))
        except Exception as error:  # its exceptions have no common base
            raise BackendError(f"{path.name}: {error}") from error
        names = [port.name for port in graph.outputs]

        def run(inputs: Mapping[str, Array], into: Mapping[str, Array]) -> dict[str, Array]:
            return dict(zip(names, session.run(names, dict(inputs)), strict=True))

        return run


def open_backend(bundle: Bundle, **options: object) -> PlainBackend:
    """What the table of backends asks for; none of its options means anything here."""
    return PlainBackend(HostMemory())
