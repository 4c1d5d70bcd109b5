"""ONNX Runtime, through I/O binding: tensors pass from graph to graph where they are, and caches update in place."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from clasp_trt.bundle import Bundle, Graph
from clasp_trt.errors import BackendError
from clasp_trt.runtime.backends.checked import Calls
from clasp_trt.runtime.backends.interface import Backend
from clasp_trt.runtime.backends.memory import Memory
from clasp_trt.shortage import is_shortage, shortage
from clasp_trt.tensors import TensorSpec

PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider",),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),  # the second for what the first leaves over
}
"""What computes, by our name for it, and in the order in which nodes are offered to it."""
_OPTIONS = {"CUDAExecutionProvider": {"use_tf32": "0"}}  # or float32, which selection needs, has 10 bits in products
PREFILL_ROWS = 320
"""Rows of a prefill chunk: the fastest of 160 to 640 for a 1.1B decoder on two AVX-512 cores, untuned elsewhere."""
_SILENT = 4  # of errors too, which are raised as well: a mistake is told in one line
_TYPES = {"float32": "float"}  # where ONNX Runtime's word for a dtype is another
_DTYPES = {1: "float32", 7: "int64", 9: "bool", 10: "float16", 16: "bfloat16"}  # of TensorProto.DataType


class OrtMemory(Memory[ort.OrtValue]):
    """Tensors of ONNX Runtime on ``device``, ``cpu`` or ``cuda``."""

    def __init__(self, device: str) -> None:
        self._device = device

    def upload(self, array: NDArray[Any]) -> ort.OrtValue:
        return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), self._device)

    def write(self, tensor: ort.OrtValue, array: NDArray[Any]) -> None:
        tensor.update_inplace(array)

    def download(self, tensor: ort.OrtValue) -> NDArray[Any]:
        return np.array(tensor.numpy())  # a copy: the view of an uploaded array ends with its OrtValue

    def spec(self, tensor: ort.OrtValue) -> tuple[str, tuple[int, ...]]:
        return _DTYPES[tensor.element_type()], tuple(tensor.shape())

    def rows(self, tensor: ort.OrtValue, start: int, stop: int) -> ort.OrtValue:
        return self.upload(tensor.numpy()[:, start:stop])  # on the CPU a view all the way

    def part(self, tensor: ort.OrtValue, start: int, stop: int) -> ort.OrtValue:
        return self.upload(tensor.numpy()[start:stop])  # a view, which lasts as long as the caches are held

    def copy(self, to: ort.OrtValue, source: ort.OrtValue) -> None:
        to.update_inplace(source.numpy())


class OrtBackend(Backend[ort.OrtValue]):
    """Runs graphs by ``provider``, a key of :data:`PROVIDERS`, one graph at a time.

    On the CPU every graph computes on ``threads`` threads (default: the usable cores). Elsewhere tensors stay on the
    first GPU, and a provider that ONNX Runtime lacks or cannot load is refused: it would compute on the CPU instead.

    ``integers``: graphs multiply integers. With ``trace``, a folder, each session writes a profile of its nodes there,
    ``<graph>_<date>.json``, which is whole when the session is gone. Noting them takes time.
    """

    def __init__(
        self,
        threads: int | None = None,
        *,
        trace: Path | None = None,
        provider: str = "cpu",
        integers: bool = False,
    ) -> None:
        if threads is not None and (type(threads) is not int or threads < 1):
            raise BackendError(f"threads is {threads!r}, expected a whole number of at least 1")
        self._provider, self._integers = provider, integers
        self._device = "cpu" if provider == "cpu" else "cuda"
        self._threads = threads or len(os.sched_getaffinity(0))
        self._trace = trace
        missing = [name for name in PROVIDERS[provider] if name not in ort.get_available_providers()]
        if missing:
            raise BackendError(
                f"onnxruntime {ort.__version__} here has no {missing[0]}; put onnxruntime-gpu in its place "
                "(pip uninstall onnxruntime, then pip install onnxruntime-gpu), or use --provider cpu"
            )
        super().__init__(OrtMemory(self._device))
        self.prefill_rows = PREFILL_ROWS if self._device == "cpu" else None
        self.chooses = self._device != "cpu"
        self.most_slots = None if self._device == "cpu" else 1  # there memory is not shared by its address

    def load_graph(self, path: Path, graph: Graph) -> OrtRunner:
        options = ort.SessionOptions()
        options.log_severity_level = _SILENT
        options.intra_op_num_threads = self._threads
        # each session has its own threads; those of an idle one must not spin while the next one computes
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # small blocks to share out, so that no thread waits long for another; 5 % of a prefill on two cores
        options.add_session_config_entry("session.dynamic_block_base", "4")
        # a pattern of one run's memory is laid out anew in the arena for the next, beside what the first has taken
        options.enable_mem_pattern = False
        # weights go outside the arena, which otherwise keeps the peak of loading for ever
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        # integers that a graph itself multiplies as floats are fused into products of floats: rounding activations to 8
        # bits, which is the default, is for graphs that say so
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
        if self._integers:  # or CPUs without VNNI add products of bytes in 16 bits, which cuts sums off
            options.add_session_config_entry("session.x64quantprecision", "1")
        if self._trace is not None:
            options.enable_profiling = True
            options.profile_file_prefix = os.fspath(self._trace / graph.name)
        try:
            offered = [(name, _OPTIONS.get(name, {})) for name in PROVIDERS[self._provider]]
            session = ort.InferenceSession(os.fspath(path), options, providers=offered, enable_fallback=0)
        except Exception as error:  # its exceptions have no common base
            if is_shortage(error):
                raise shortage(f"to load {path.name}", error, _size(path)) from error
            raise BackendError(
                f"ONNX Runtime {ort.__version__} refused {path.name}: {_reason(error)}; {_advice(error)}"
            ) from error
        wanted = PROVIDERS[self._provider][0]
        if wanted not in session.get_providers():  # ONNX Runtime warns, and goes on without it
            raise BackendError(
                f"ONNX Runtime {ort.__version__} cannot load {wanted}, and would compute {graph.name} on the CPU; "
                "check that the CUDA, cuDNN and TensorRT libraries that it was built for are installed"
            )
        try:
            _check_ports(session, graph, path)
        except UnicodeDecodeError as error:
            raise BackendError(f"{path.name}: a port's name is no text ({error}); rebuild the bundle") from error
        return OrtRunner(session, graph, self._device, self._calls)


class OrtRunner:
    """A session. What one step binds stays bound for the next, which changes little of it, and the memory that it
    computes in stays too; every other call binds anew, and on the CPU gives its memory back, so that nothing is held
    for longer than the call."""

    def __init__(self, session: ort.InferenceSession, graph: Graph, device: str, calls: Calls) -> None:
        self._session, self._name, self._device, self._calls = session, graph.name, device, calls
        self._outputs = tuple(port.name for port in graph.outputs)
        self._step: _Binding | None = None
        self._once = ort.RunOptions()
        if device == "cpu":
            self._once.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def __call__(self, inputs: Mapping[str, ort.OrtValue], into: Mapping[str, ort.OrtValue]) -> dict[str, ort.OrtValue]:
        lasting, self._step = self._step, None  # after an error nothing of it is relied on
        try:
            bound = lasting if lasting and self._calls.in_step else _Binding(self._session, self._outputs, self._device)
            outputs = bound.run(inputs, into, None if self._calls.in_step else self._once)
        except Exception as error:
            if is_shortage(error):
                raise shortage(f"to run graph {self._name}", error) from error
            raise BackendError(f"ONNX Runtime failed in graph {self._name}: {_reason(error)}") from error
        self._step = bound if self._calls.in_step else lasting
        return outputs


class _Binding:
    """Tensors that are bound to the ports of a session, each of which is bound anew only if it is another than before.

    An output that has no place is a new tensor each time, or the next run would overwrite it.
    """

    def __init__(self, session: ort.InferenceSession, outputs: Sequence[str], device: str) -> None:
        self._session, self._outputs, self._device = session, outputs, device
        self._binding = session.io_binding()
        self._taken: dict[str, ort.OrtValue] = {}
        self._places: dict[str, ort.OrtValue] = {}

    def run(
        self, inputs: Mapping[str, ort.OrtValue], into: Mapping[str, ort.OrtValue], options: ort.RunOptions | None
    ) -> dict[str, ort.OrtValue]:
        binding, taken, places = self._binding, self._taken, self._places
        for name, value in inputs.items():
            if taken.get(name) is not value:
                binding.bind_ortvalue_input(name, value)
                taken[name] = value
        free = []
        for at, name in enumerate(self._outputs):  # in this order the first time, which is theirs from then on
            place = into.get(name)
            if place is None:
                binding.bind_output(name, self._device)
                free.append((at, name))
                places.pop(name, None)
            elif places.get(name) is not place:
                binding.bind_ortvalue_output(name, place)
                places[name] = place
        self._session.run_with_iobinding(binding, options)
        if not free:
            return {}
        values = binding.get_outputs_as_ortvaluevector()  # those of caches, most of them, are never looked at
        return {name: ort.OrtValue(values[at]) for at, name in free}


def open_backend(
    bundle: Bundle,
    *,
    threads: int | None = None,
    trace: Path | None = None,
    provider: str | None = None,
    timed: bool = False,
) -> OrtBackend:
    """See :class:`clasp_trt.runtime.backends.find.Opens`. Every call of a graph takes as long as the graph."""
    integers, provider = bundle.manifest.multiplies_integers, provider or "cpu"
    if integers and provider != "cpu":
        raise BackendError(
            f"{bundle.root} multiplies integers as CPUs do, and provider {provider} has no such products; build it "
            "for a device with a GPU, or use --provider cpu"
        )
    return OrtBackend(threads, trace=trace, provider=provider, integers=integers)


def _check_ports(session: ort.InferenceSession, graph: Graph, path: Path) -> None:
    """Raises :class:`BackendError` unless the ports are those that the manifest states, by which caches are allocated
    next; ``UnicodeDecodeError`` for a name that is no text."""
    ports, specs = (*session.get_inputs(), *session.get_outputs()), (*graph.inputs, *graph.outputs)
    found, stated = [port.name for port in ports], [spec.name for spec in specs]
    if found != stated:
        raise BackendError(f"{path.name} has ports {found}, but the manifest states {stated}; rebuild the bundle")
    for port, spec in zip(ports, specs, strict=True):
        if not _fits(port, spec):
            raise BackendError(
                f"{path.name}: {port.name} is {port.type} {port.shape}, but the manifest states {spec}; "
                "rebuild the bundle"
            )


def _fits(port: ort.NodeArg, spec: TensorSpec) -> bool:
    """Whether an input or output has the element type, the rank and the fixed sizes that the manifest states."""
    pairs = zip(port.shape, spec.shape, strict=False)
    fixed = [(found, stated) for found, stated in pairs if isinstance(found, int) or isinstance(stated, int)]
    same = len(port.shape) == len(spec.shape) and all(found == stated for found, stated in fixed)
    return same and port.type == f"tensor({_TYPES.get(spec.dtype, spec.dtype)})"


def _size(path: Path) -> int:
    """Bytes of a graph and of the weights beside it."""
    beside = path.with_name(f"{path.name}.data")
    return sum(file.stat().st_size for file in (path, beside) if file.is_file())


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


_NO_ROOM = ("cannot allocate memory", "bad_alloc", "failed to allocate", "bad allocation")


def _advice(error: Exception) -> str:
    if "opset" in str(error):
        return "build the bundle for this device (`clasp-trt build BUNDLE --target ...`), or take a newer onnxruntime"
    if any(sign in str(error).lower() for sign in _NO_ROOM):
        return "free some memory, allow the process more, or take fewer threads or a smaller context"
    return "check the bundle with `clasp-trt inspect BUNDLE --verify`"
