"""The graphs of a bundle as Polygraphy runners, and a backend of the runtime that runs every graph through one."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from polygraphy.backend.base import BaseRunner
from polygraphy.common import TensorMetadata
from polygraphy.datatype import DataType

from clasp_trt.bundle import Graph
from clasp_trt.runtime.backends.interface import Backend, Runner, Tensor
from clasp_trt.runtime.timing import Span

T = TypeVar("T")


class GraphRunner(BaseRunner):  # type: ignore[misc]  # Polygraphy ships no types
    """One graph of a bundle. Activating it loads the graph into ``backend``, deactivating it lets the graph go.

    As with Polygraphy's own runners, arrays in give arrays out; tensors of the backend stay where they are.
    """

    def __init__(self, backend: Backend, path: Path, graph: Graph) -> None:
        super().__init__(name=graph.name)
        self._backend, self._graph = backend, graph
        self._load: Callable[[], Runner] = partial(backend.load, path, graph)

    def activate_impl(self) -> None:
        """Polygraphy's hook of ``activate``. Raises :class:`clasp_trt.errors.BackendError` if the graph is refused."""
        self._runner = self._load()

    def deactivate_impl(self) -> None:
        """Polygraphy's hook of ``deactivate``."""
        del self._runner

    def get_input_metadata_impl(self) -> TensorMetadata:
        """Names, dtypes and shapes of the inputs; symbolic dims are None."""
        metadata = TensorMetadata()
        for port in self._graph.inputs:
            shape = [dim if isinstance(dim, int) else None for dim in port.shape]
            metadata.add(port.name, dtype=getattr(DataType, port.dtype.upper()), shape=shape)
        return metadata

    def infer_impl(
        self, feed_dict: Mapping[str, Tensor], into: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Polygraphy's hook of ``infer``; ``into`` is that of :class:`clasp_trt.runtime.backends.interface.Runner`."""
        on_host = all(isinstance(value, np.ndarray) for value in feed_dict.values())
        inputs = {name: self._backend.upload(value) for name, value in feed_dict.items()} if on_host else feed_dict
        start = time.perf_counter()
        outputs = self._runner(inputs, into or {})
        self.inference_time = time.perf_counter() - start
        return {name: self._backend.download(value) for name, value in outputs.items()} if on_host else outputs


class Recorder:
    """A backend that runs graphs as another one does, by Polygraphy runners, and notes when each call ran.

    Leaving it as a context deactivates all runners.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend, self._runners = backend, ExitStack()
        self._calls: list[Span] = []

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def prefill_rows(self) -> int | None:
        return self._backend.prefill_rows

    @property
    def kv_block(self) -> int:
        return self._backend.kv_block

    @property
    def chooses(self) -> bool:
        return self._backend.chooses

    @property
    def compiled(self) -> bool:
        return self._backend.compiled

    def take(self) -> tuple[Span, ...]:
        """The calls since the last time, in order, by graph."""
        calls = tuple(self._calls)
        self._calls.clear()
        return calls

    def load(self, path: Path, graph: Graph) -> Runner:
        runner = self._runners.enter_context(GraphRunner(self._backend, path, graph))

        def run(inputs: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> dict[str, Tensor]:
            start = time.perf_counter()
            outputs: dict[str, Tensor] = runner.infer(inputs, check_inputs=False, into=into)
            self._calls.append(Span(graph.name, start, start + runner.last_inference_time()))
            return outputs

        return run

    def upload(self, array: NDArray[Any]) -> Tensor:
        return self._backend.upload(array)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Tensor:
        return self._backend.zeros(shape, dtype)

    def write(self, tensor: Tensor, array: NDArray[Any]) -> None:
        self._backend.write(tensor, array)

    def clear(self, tensor: Tensor) -> None:
        self._backend.clear(tensor)

    def rows(self, tensor: Tensor, start: int, stop: int) -> Tensor:
        return self._backend.rows(tensor, start, stop)

    def download(self, tensor: Tensor) -> NDArray[Any]:
        return self._backend.download(tensor)

    def repeat(self, key: Hashable, step: Callable[[], T]) -> T:
        return self._backend.repeat(key, step)

    def close(self) -> None:
        self._runners.close()
        self._backend.close()
