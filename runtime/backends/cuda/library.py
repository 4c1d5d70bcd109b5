"""The TensorRT module that runs engines: which one a backend means, and its engines and contexts.

:mod:`clasp_trt.engines.tensorrt.library` is its counterpart that builds; the two sides exchange files and no code.
"""

from __future__ import annotations

import mmap
from importlib import import_module
from pathlib import Path
from typing import Any

from clasp_trt.errors import BackendError

MODULES = {"tensorrt": ("tensorrt",), "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}


class Library:
    """A module of TensorRT with a runtime of it; ``backend`` is a key of :data:`MODULES`, ``module`` is passed in."""

    def __init__(self, backend: str, module: Any) -> None:
        self.backend, self.module, self.version = backend, module, str(module.__version__)
        self._errors: list[str] = []
        self._log = _logger(module, self._errors)  # the runtime keeps no reference to it
        self._runtime = module.Runtime(self._log)
        self.dtypes = {
            module.DataType.FLOAT: "float32",
            module.DataType.HALF: "float16",
            module.DataType.BF16: "bfloat16",
            module.DataType.INT64: "int64",
            module.DataType.BOOL: "bool",
        }

    def engine(self, path: Path) -> Any:
        """The engine of a file, which has been checked. Raises :class:`BackendError` if TensorRT refuses it."""
        # mapped, not read: the pages are the file's own and can be dropped once the weights are on the device
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            engine = self._runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise BackendError(f"{self.backend} {self.version} refuses {path.name}: {self.complaint()}")
        return engine

    def context(self, engine: Any, *, fixed: bool) -> Any:
        """A context without memory of its own. A ``fixed`` one sees a single set of shapes."""
        strategy = self.module.ExecutionContextAllocationStrategy.USER_MANAGED
        if fixed and self.backend == "tensorrt-rtx":
            config = engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            # kernels for these very shapes before the first run: what is recorded does not change when they are ready
            kinds = self.module.DynamicShapesKernelSpecializationStrategy
            config.dynamic_shapes_kernel_specialization_strategy = kinds.EAGER
            context = engine.create_execution_context(config)
        else:
            context = engine.create_execution_context(strategy)
        if context is None:
            raise BackendError(f"{self.backend} cannot make an execution context: {self.complaint()}")
        return context

    def close(self) -> None:
        """Lets the runtime go, after all its engines."""
        self._runtime = None

    def complaint(self) -> str:
        """The latest errors that TensorRT logged, as one line; they are forgotten."""
        said = "; ".join(" ".join(error.split()) for error in self._errors[-2:]) or "no reason given"
        self._errors.clear()
        return said


def load(backend: str) -> Any:
    """The module of ``backend``. Raises :class:`BackendError` that says what to install."""
    reason = ""
    for name in MODULES[backend]:
        try:
            return import_module(name)
        except Exception as error:  # a missing library of its own, or of the driver's: whatever it is, it is not usable
            if not (isinstance(error, ModuleNotFoundError) and error.name == name):
                reason = f" ({error})"
    raise BackendError(
        f"a bundle for backend {backend} needs {MODULES[backend][0]}, which cannot be imported{reason}; "
        f"pip install 'clasp-trt[{backend}]', or on JetPack sudo apt install python3-libnvinfer, and make the "
        "environment with python3 -m venv --system-site-packages"
    )


def _logger(module: Any, errors: list[str]) -> Any:
    severities = (module.ILogger.ERROR, module.ILogger.INTERNAL_ERROR)

    class Errors(module.ILogger):  # type: ignore[misc]  # the module has no types
        def __init__(self) -> None:
            module.ILogger.__init__(self)  # TensorRT wants its own initialiser, not super()'s

        def log(self, severity: Any, message: str) -> None:
            if severity in severities:
                errors.append(message)

    return Errors()
