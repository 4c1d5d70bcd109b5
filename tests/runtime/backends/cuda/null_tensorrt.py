"""TensorRT without TensorRT: engines that compute by running their ONNX graph with ONNX Runtime, in null device memory.

It has no more than the attributes of ``runtime/backends/cuda/api.py``, and checks what the real one would get wrong in
silence: addresses, sizes, profiles, streams, and what happens to a context after it was recorded.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from clasp_trt.bundle import Bundle, Engine, Grid, TensorSpec
from clasp_trt.bundle.split import Longest, Ratio
from tests.runtime.backends.cuda.null_driver import DEVICE_BASE, NullCuda, Violation, Work, host_int

ON_HOST = ("kv_length",)
SCRATCH = 1000
LAYERS = 2
_PREFIX = b"engine of "
TYPES = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16", "int64": "INT64", "bool": "BOOL"}
NUMPY = {"bfloat16": np.dtype(ml_dtypes.bfloat16)} | {name: np.dtype(name) for name in TYPES if name != "bfloat16"}


def engine_bytes(graph: str) -> bytes:
    """The file of an engine."""
    return _PREFIX + graph.encode()


class NullTensorRT:
    """The module, for the engines of ``bundle`` on ``cuda``.

    ``aliasing`` has caches updated in place, as newer releases do; older ones demand another place for the
    output. ``rtx`` adds what TensorRT for RTX alone has, which then refuses to be recorded unless ``capturable``.
    A bundle in bf16, which ONNX Runtime cannot run, takes ``computes``, the same bundle in fp32: what comes out of each
    graph of that is rounded to bfloat16.
    """

    def __init__(
        self,
        cuda: NullCuda,
        bundle: Bundle,
        version: str,
        *,
        aliasing: bool = True,
        rtx: bool = False,
        capturable: bool = True,
        refuse: str | None = None,
        computes: Bundle | None = None,
    ) -> None:
        self.__version__ = version
        self.alive: weakref.WeakSet[Any] = weakref.WeakSet()
        self.DataType = SimpleNamespace(**{name: name for name in TYPES.values()})
        self.TensorIOMode = SimpleNamespace(INPUT="input", OUTPUT="output")
        self.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="ours")
        self.eager = 0
        self.runs: list[tuple[str, str]] = []  # that were asked for: graph and profile
        if rtx:
            self.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")
        module = self

        class ILogger:
            ERROR, INTERNAL_ERROR, WARNING = 1, 0, 2

        class Runtime:
            def __init__(self, logger: Any) -> None:
                self._logger = logger
                module.alive.add(self)

            def deserialize_cuda_engine(self, content: Any) -> _Engine | None:
                name = bytes(content).removeprefix(_PREFIX).decode()
                self._logger.log(ILogger.WARNING, "not of interest")
                if name == refuse:
                    self._logger.log(ILogger.ERROR, "the engine is\n not mine")
                    return None
                made = (_RtxEngine if rtx else _Engine)(module, cuda, bundle, name, aliasing, self._logger)
                made.is_capturable = capturable
                if computes is not None:
                    made.path = str(computes.path(computes.graph(name).path))
                module.alive.add(made)
                return made

        class IProfiler:
            def report_layer_time(self, layer_name: str, ms: float) -> None:
                raise NotImplementedError

        self.ILogger, self.IProfiler, self.Runtime = ILogger, IProfiler, Runtime


class _Engine:
    def __init__(
        self, module: NullTensorRT, cuda: NullCuda, bundle: Bundle, name: str, aliasing: bool, logger: Any
    ) -> None:
        assert bundle.manifest.engines is not None
        self.module, self.cuda, self.graph, self.logger = module, cuda, bundle.graph(name), logger
        self.entry: Engine = next(each for each in bundle.manifest.engines.engines if each.graph == name)
        self.path = str(bundle.path(self.graph.path))
        self.ports = {port.name: port for port in (*self.graph.inputs, *self.graph.outputs)}
        processor = bundle.manifest.media.image.processor
        self.merged = processor.merge**2 if isinstance(processor, Grid) else None  # patches of a visual token
        self.tiled = processor.tokens if isinstance(processor, Ratio | Longest) else None  # visual tokens of a tile
        self.device_memory_size_v2 = SCRATCH + len(self.ports)
        self.is_capturable = True
        if aliasing:
            self.get_aliased_input_tensor = self._alias

    @property
    def num_io_tensors(self) -> int:
        return len(self.ports)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.entry.profiles)

    def get_tensor_name(self, index: int) -> str:
        return list(self.ports)[index]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if self.ports[name] in self.graph.inputs else "output"

    def get_tensor_dtype(self, name: str) -> str:
        return TYPES[self.ports[name].dtype]

    def is_shape_inference_io(self, name: str) -> bool:
        return name in ON_HOST

    def create_execution_context(self, strategy: object) -> _Context:
        if strategy != "ours":
            raise Violation("a context with memory of its own")
        return self._made(_Context(self))

    def _made(self, context: _Context) -> _Context:
        self.module.alive.add(context)
        return context

    def _alias(self, name: str) -> str | None:
        past = name.replace("present_", "past_", 1)
        return past if past != name and past in self.ports else None


class _RtxEngine(_Engine):
    def create_runtime_config(self) -> _RtxConfig:
        return _RtxConfig()

    def create_execution_context(self, strategy: object) -> _Context:
        if isinstance(strategy, _RtxConfig):
            if (strategy.strategy, strategy.dynamic_shapes_kernel_specialization_strategy) != ("ours", "eager"):
                raise Violation("a config that says nothing")
            self.module.eager += 1
        elif strategy != "ours":
            raise Violation("a context with memory of its own")
        return self._made(_RtxContext(self))


class _RtxConfig:
    strategy: object = None
    dynamic_shapes_kernel_specialization_strategy: object = None

    def set_execution_context_allocation_strategy(self, strategy: object) -> None:
        self.strategy = strategy


class _Context:
    """Everything that is set is checked when it is used: what was set for good, and what a recording relies on."""

    def __init__(self, engine: _Engine) -> None:
        self._engine, self._cuda = engine, engine.cuda
        self._ranges: Mapping[str, tuple[int, int, int]] | None = None
        self._profile = ""
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._memory: tuple[int, int] | None = None
        self._ran: object = None  # the sizes of the last run that was not recorded
        self._recorded = False
        self.profiler: Any = None

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self._changes("a profile")
        profile = self._engine.entry.profiles[index]
        self._profile, self._ranges = profile.name, profile.sizes
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._changes("a shape")
        if self._ranges is None:
            raise Violation("a shape before its profile")
        port = self._engine.ports[name]
        for stated, size in zip(port.shape, shape, strict=True):
            low, _, high = self._ranges[stated] if isinstance(stated, str) else (stated, stated, stated)
            if not low <= size <= high:
                self._engine.logger.log(1, f"{name} has {size}, not {low} to {high}")
                return False
        self._shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._changes("an address")
        if name not in self._engine.ports:
            return False
        if name in ON_HOST and address >= DEVICE_BASE:
            raise Violation(f"{name} is read on the host")
        if name not in ON_HOST and (address < DEVICE_BASE or address % 256):
            raise Violation(f"{name} at {address:x} is not an aligned address of the device")
        self._addresses[name] = address
        return True

    def set_device_memory(self, address: int, size: int) -> None:
        self._changes("scratch memory")
        if size < self._engine.device_memory_size_v2:
            raise Violation("too little scratch memory")
        self._cuda.bytes_at(address, size, "scratch")
        self._memory = address, size

    def infer_shapes(self) -> list[str]:
        inputs = self._engine.graph.inputs
        return [p.name for p in inputs if p.name not in (self._addresses if p.name in ON_HOST else self._shapes)]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        sizes = self._sizes()
        return tuple(dim if isinstance(dim, int) else sizes.get(dim, -1) for dim in self._engine.ports[name].shape)

    def execute_async_v3(self, stream: int) -> bool:
        graph, cuda = self._engine.graph, self._cuda
        if lacking := [port.name for port in graph.inputs if port.name not in self._shapes]:
            raise Violation(f"{graph.name}: no shape of {lacking}")
        if lacking := [name for name in self._engine.ports if name not in self._addresses]:
            raise Violation(f"{graph.name}: no address of {lacking}")
        if self._memory is None:
            raise Violation(f"{graph.name}: no scratch memory")
        values = {name: host_int(self._addresses[name]) for name in ON_HOST if name in self._engine.ports}
        for name, value in values.items():
            assert self._ranges is not None
            if not self._ranges[name][0] <= value <= self._ranges[name][2]:
                raise Violation(f"{graph.name}: {name} is {value}, outside its profile")
        state = (tuple(sorted(self._shapes.items())), tuple(sorted(values.items())))
        if cuda.capturing and self._ran != state:
            raise Violation(f"{graph.name}: recorded before it ran with these sizes")
        if cuda.capturing:
            self._recorded = True
        else:
            self._ran = state
        self._engine.module.runs.append((graph.name, self._profile))
        cuda.submit(Work(f"run {graph.name}", self._work(values, recorded=cuda.capturing)), stream)
        if self.profiler is not None:  # it is told when all is done
            cuda.cuStreamSynchronize(stream)
            for number in range(LAYERS):
                self.profiler.report_layer_time(f"{graph.name} layer {number}", number + 0.5)
        return True

    def _work(self, values: Mapping[str, int], *, recorded: bool) -> Any:
        """The run that is asked for now, with the addresses of now."""
        graph, cuda, path = self._engine.graph, self._cuda, self._engine.path
        addresses, shapes, memory = dict(self._addresses), dict(self._shapes), self._memory
        assert memory is not None
        outputs = {port.name: self.get_tensor_shape(port.name) for port in graph.outputs}
        self._check_overlaps(outputs)

        def memory_of(port: TensorSpec, shape: tuple[int, ...]) -> NDArray[np.uint8]:
            size = int(np.prod(shape)) * NUMPY[port.dtype].itemsize
            return cuda.bytes_at(addresses[port.name], size, f"{graph.name}: {port.name}")

        def run() -> None:
            for name, value in values.items():
                if not recorded and host_int(addresses[name]) != value:
                    raise Violation(f"{graph.name}: {name} on the host was changed before it was done")
            feed: dict[str, NDArray[Any]] = {}
            for port in graph.inputs:
                shape = shapes[port.name]
                feed[port.name] = (
                    np.full(shape, values[port.name])
                    if port.name in values
                    else memory_of(port, shape).view(NUMPY[port.dtype]).reshape(shape).copy()
                )
                if port.dtype == "bfloat16":
                    feed[port.name] = feed[port.name].astype(np.float32)
            cuda.bytes_at(*memory, "scratch")[:] = 0xEE  # nobody else may keep anything there
            found = _session(path).run(None, feed)
            for port, array in zip(graph.outputs, found, strict=True):
                if array.shape != outputs[port.name]:
                    raise Violation(f"{graph.name}: {port.name} is {array.shape}, not {outputs[port.name]}")
                dense = np.ascontiguousarray(array, NUMPY[port.dtype])  # rounds float32 to bfloat16
                memory_of(port, array.shape)[:] = dense.reshape(-1).view(np.uint8)

        for side, known in ((graph.inputs, shapes), (graph.outputs, outputs)):
            for port in side:
                if port.name not in values:
                    memory_of(port, known[port.name])
        return run

    def _check_overlaps(self, outputs: Mapping[str, tuple[int, ...]]) -> None:
        """An output lies on no other tensor, but on the input that it shares memory with."""
        alias = getattr(self._engine, "get_aliased_input_tensor", lambda name: None)
        taken = {
            name: (self._addresses[name], int(np.prod(shape)) * NUMPY[self._engine.ports[name].dtype].itemsize)
            for name, shape in (*self._shapes.items(), *outputs.items())
            if name not in ON_HOST
        }
        for name in outputs:
            start, size = taken[name]
            if (shared := alias(name)) is not None and taken[shared][0] != start:
                raise Violation(f"{name} does not lie where {shared} lies")
            for other, (begin, length) in taken.items():
                if other in (name, shared) or not size or not length:
                    continue
                if start < begin + length and begin < start + size:
                    raise Violation(f"{self._engine.graph.name}: {name} is written over {other}")

    def _sizes(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for port in self._engine.graph.inputs:
            for stated, size in zip(port.shape, self._shapes.get(port.name, ()), strict=False):
                if isinstance(stated, str):
                    sizes[stated] = size
        if "sequence" in sizes and (kept := self._engine.ports.get("kept")):
            tokens, keep = (
                dim if isinstance(dim, int) else sizes.get(dim, -1)
                for dim in (self._engine.ports["visual_index"].shape[0], kept.shape[1])
            )
            sizes["kept_sequence"] = sizes["sequence"] - tokens + keep
        if "patches" in sizes and (merged := self._engine.merged):
            sizes["visual_tokens"] = sizes["frames"] * sizes["patches"] // merged
        if "batch" in sizes and "visual_tokens" not in sizes and (tokens := self._engine.tiled):
            sizes["visual_tokens"] = sizes["batch"] * tokens
        return sizes

    def _changes(self, what: str) -> None:
        if self._recorded:
            raise Violation(f"{self._engine.graph.name}: {what} of a recorded context is changed")
        if self._cuda.capturing:
            raise Violation(f"{self._engine.graph.name}: {what} is set while work is recorded")


class _RtxContext(_Context):
    def is_stream_capturable(self, stream: int) -> bool:
        return self._engine.is_capturable


@cache
def _session(path: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
