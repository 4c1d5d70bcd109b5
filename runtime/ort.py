"""ONNX Runtime on the CPU, through I/O binding: tensors pass from graph to graph and caches update in place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from clasp_trt.bundle import Graph
from clasp_trt.errors import BackendError

PROVIDER = "CPUExecutionProvider"
_ERRORS_ONLY = 3


class OrtBackend:
    """CPU backend; every graph computes on ``threads`` threads (default: the usable cores), one graph at a time.

    With ``trace``, a folder, each session writes a profile of its nodes there, ``<graph>_<date>.json``, which is whole
    when the session is gone. Noting them takes time.
    """

    def __init__(self, threads: int | None = None, *, trace: Path | None = None) -> None:
        if threads is not None and threads < 1:
            raise BackendError(f"threads is {threads}, expected at least 1")
        self._threads = threads or len(os.sched_getaffinity(0))
        self._trace = trace

    def load(self, path: Path, graph: Graph) -> OrtRunner:
        options = ort.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = self._threads
        # each session has its own threads; those of an idle one must not spin while the next one computes
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # small blocks to share out, so that no thread waits long for another; 5 % of a prefill on two cores
        options.add_session_config_entry("session.dynamic_block_base", "4")
        # weights go outside the arena, which otherwise keeps the peak of loading for ever
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        if self._trace is not None:
            options.enable_profiling = True
            options.profile_file_prefix = os.fspath(self._trace / graph.name)
        try:
            session = ort.InferenceSession(os.fspath(path), options, providers=[PROVIDER])
        except Exception as error:  # its exceptions have no common base
            raise BackendError(
                f"ONNX Runtime {ort.__version__} refused {path.name}: {_reason(error)}; {_advice(error)}"
            ) from error
        found = [port.name for port in (*session.get_inputs(), *session.get_outputs())]
        stated = [port.name for port in (*graph.inputs, *graph.outputs)]
        if found != stated:
            raise BackendError(f"{path.name} has ports {found}, but the manifest states {stated}; rebuild the bundle")
        return OrtRunner(session, graph)

    def upload(self, array: NDArray[Any]) -> ort.OrtValue:
        return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))

    def zeros(self, shape: tuple[int, ...], dtype: str) -> ort.OrtValue:
        return ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, dtype=dtype))

    def rows(self, tensor: ort.OrtValue, start: int, stop: int) -> ort.OrtValue:
        return self.upload(tensor.numpy()[:, start:stop])  # a view all the way

    def download(self, tensor: ort.OrtValue) -> NDArray[Any]:
        return np.array(tensor.numpy())  # a copy: the view of an uploaded array ends with its OrtValue


class OrtRunner:
    """A session. Each call binds anew: the outputs of a lasting binding are overwritten by its next run."""

    def __init__(self, session: ort.InferenceSession, graph: Graph) -> None:
        self._session, self._name = session, graph.name
        self._outputs = tuple(port.name for port in graph.outputs)

    def __call__(self, inputs: Mapping[str, ort.OrtValue], into: Mapping[str, ort.OrtValue]) -> dict[str, ort.OrtValue]:
        binding = self._session.io_binding()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name in self._outputs:
            if name in into:
                binding.bind_ortvalue_output(name, into[name])
            else:
                binding.bind_output(name, "cpu")
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed in graph {self._name}: {_reason(error)}") from error
        values = zip(self._outputs, binding.get_outputs(), strict=True)
        return {name: value for name, value in values if name not in into}


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _advice(error: Exception) -> str:
    if "opset" in str(error):
        return "build the bundle for this device (`clasp-trt build BUNDLE --target ...`), or take a newer onnxruntime"
    return "check the bundle with `clasp-trt inspect BUNDLE --verify`"
