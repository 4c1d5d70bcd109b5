"""The TensorRT that runs engines: a runtime of it, with its engines and contexts."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

from clasp_trt.errors import BackendError
from clasp_trt.plugins.library import error_logger


class Library:
    """A ``module`` of TensorRT with a runtime of it; ``backend`` is what the module is of."""

    def __init__(self, backend: str, module: Any) -> None:
        self.backend, self.module, self.version = backend, module, str(module.__version__)
        self._errors: list[str] = []
        self._log = error_logger(module, self._errors)  # the runtime keeps no reference to it
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
        said = "; ".join(self._errors[-2:]) or "no reason given"
        self._errors.clear()
        return said
