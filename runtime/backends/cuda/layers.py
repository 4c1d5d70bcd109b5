"""What each layer of an engine takes, in files of the form that ONNX Runtime writes, so that they are read alike."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

KIND = "layer"
"""Stands for the type of a layer: TensorRT fuses operators, and names alone tell which."""


class LayerTimes:
    """Collects the layers of every run of ``graph`` for :meth:`write`; ``profiler`` is what TensorRT reports to.

    TensorRT reports when a run is done, and waits for it: what is profiled cannot overlap, nor be recorded.
    """

    def __init__(self, module: Any, graph: str, folder: Path) -> None:
        self._path = folder / f"{graph}_{time.strftime('%Y-%m-%d_%H-%M-%S')}.json"
        self._events: list[dict[str, object]] = []
        self._now = 0.0  # in microseconds, as everything here
        self.profiler = _profiler(module, self._add)

    def begin(self) -> None:
        """A run begins now; layers are taken to follow one another from here."""
        self._now = time.perf_counter() * 1e6
        self._events.append({"name": "model_run", "ts": self._now})

    def write(self) -> None:
        """Writes ``<graph>_<date>.json``."""
        self._path.write_text(json.dumps(self._events), encoding="utf-8")

    def _add(self, name: str, milliseconds: float) -> None:
        event = {"cat": "Node", "name": f"{name}_kernel_time", "ts": self._now, "dur": 1e3 * milliseconds}
        self._events.append({**event, "args": {"op_name": KIND}})
        self._now += 1e3 * milliseconds


def _profiler(module: Any, add: Any) -> Any:
    class Profiler(module.IProfiler):  # type: ignore[misc]  # the module has no types
        def __init__(self) -> None:
            module.IProfiler.__init__(self)  # TensorRT wants its own initialiser, not super()'s

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            add(layer_name, ms)

    return Profiler()
