"""The graphs of a bundle as Polygraphy runners, and a backend of the runtime that runs every graph through one."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from polygraphy.backend.base import BaseRunner
from polygraphy.common import TensorMetadata
from polygraphy.datatype import DataType

from clasp_trt.bundle import Graph
from clasp_trt.runtime.backends.interface import Backend, Runner, Tensor
from clasp_trt.runtime.timing import Span

S = TypeVar("S")


class GraphRunner(BaseRunner):  # type: ignore[misc]  # Polygraphy ships no types
    """One graph of a bundle. Activating it loads the graph into ``backend``, deactivating it lets the graph go.

    As with Polygraphy's own runners, arrays in give arrays out; tensors of the backend stay where they are.
    """

    def __init__(self, backend: Backend[Any], path: Path, graph: Graph) -> None:
        super().__init__(name=graph.name)
        self._backend, self._graph = backend, graph
        self._load: Callable[[], Runner[Any]] = partial(backend.load, path, graph)

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

    def infer_impl(self, feed_dict: Mapping[str, Any], into: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Polygraphy's hook of ``infer``; ``into`` is that of :class:`clasp_trt.runtime.backends.checked.Runner`."""
        on_host = all(isinstance(value, np.ndarray) for value in feed_dict.values())
        inputs = {name: self._backend.upload(value) for name, value in feed_dict.items()} if on_host else feed_dict
        start = time.perf_counter()
        outputs = self._runner(inputs, into or {})
        self.inference_time = time.perf_counter() - start
        return {name: self._backend.download(value) for name, value in outputs.items()} if on_host else outputs


class Recorder(Backend[Any]):
    """A backend that runs graphs as another one does, by Polygraphy runners, and notes when each call ran.

    Leaving it as a context deactivates all runners and closes the other one.
    """

    def __init__(self, backend: Backend[Any]) -> None:
        super().__init__(backend.memory)
        self._backend, self._runners = backend, ExitStack()
        self._noted: list[Span] = []
        self.prefill_rows, self.kv_block, self.chooses = backend.prefill_rows, backend.kv_block, backend.chooses

    def take(self) -> tuple[Span, ...]:
        """The calls since the last time, in order, by graph."""
        calls = tuple(self._noted)
        self._noted.clear()
        return calls

    def load_graph(self, path: Path, graph: Graph) -> Runner[Any]:
        runner = self._runners.enter_context(GraphRunner(self._backend, path, graph))

        def run(inputs: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> dict[str, Tensor]:
            start = time.perf_counter()
            outputs: dict[str, Tensor] = runner.infer(inputs, check_inputs=False, into=into)
            self._noted.append(Span(graph.name, start, start + runner.last_inference_time()))
            return outputs

        return run

    def run_step(self, key: Hashable, step: Callable[[], S]) -> S:
        return self._backend.repeat(key, step)

    def check_prompt(self, text_tokens: int) -> None:
        self._backend.check_prompt(text_tokens)

    def release(self) -> None:
        self._runners.close()
        self._backend.close()
