"""A request through one graph after the other, of which only one is loaded at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clasp_trt.errors import BackendError, ShortageError
from clasp_trt.progress import Progress
from clasp_trt.runtime.backends.interface import Backend, Runner

if TYPE_CHECKING:
    from clasp_trt.bundle import Bundle, Graph


class Passing(Backend[Any]):
    """``inner``, whose graphs are loaded when they are called, and let go afterwards: a bundle is tried in the memory
    of its largest graph. A prompt is taken in one piece."""

    def __init__(self, inner: Backend[Any], bundle: Bundle, progress: Progress) -> None:
        super().__init__(inner.memory)
        self._inner, self._bundle, self._progress = inner, bundle, progress
        self._passed: set[str] = set()

    def load_graph(self, path: Path, graph: Graph) -> Runner[Any]:
        """A runner that loads the graph, and says so, when it is called."""

        def run(inputs: Mapping[str, Any], into: Mapping[str, Any]) -> dict[str, Any]:
            return self._load(graph)(inputs, into)

        return run

    def check_prompt(self, text_tokens: int) -> None:
        self._inner.check_prompt(text_tokens)

    def load_others(self) -> None:
        """Loads the graphs that no request asked for."""
        for graph in self._bundle.manifest.graphs:
            if graph.name not in self._passed:
                self._load(graph)

    def _load(self, graph: Graph) -> Runner[Any]:
        self._progress(f"load {graph.name}", len(self._passed), len(self._bundle.manifest.graphs))
        self._passed.add(graph.name)
        try:
            return self._inner.load(self._bundle.path(graph.path), graph)
        except BackendError as error:
            kind = ShortageError if isinstance(error, ShortageError) else BackendError
            raise kind(f"{self._bundle.root}: {graph.path}: {error}") from error
