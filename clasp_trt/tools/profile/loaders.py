"""The engine builder as a Polygraphy loader, for scripts that put a bundle's graphs through Polygraphy's own tools."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from polygraphy.backend.base import BaseLoader

from clasp_trt.progress import silent

if TYPE_CHECKING:
    from clasp_trt.bundle import Bundle
    from clasp_trt.engines.tensorrt.builder import Recipe


class EngineBytes(BaseLoader):  # type: ignore[misc]  # Polygraphy ships no types
    """The engine of one graph of a portable bundle, as ``clasp-trt build`` makes it; cached by neither.

    Called, it returns the serialised engine: ``TrtRunner(EngineFromBytes(EngineBytes(bundle, "gram", recipe)))``.
    """

    def __init__(self, bundle: Bundle, graph: str, recipe: Recipe, *, max_prompt: int | None = None) -> None:
        """
        Args:
            bundle: a portable bundle, which stays as it is.
            graph: the name of one of its graphs.
            recipe: library, compute capabilities, and what kernels may use for scratch.
            max_prompt: as ``--max-prompt``: the longest text of a prompt that the profiles have room for.
        """
        self._bundle, self._graph, self._recipe, self._max_prompt = bundle, graph, recipe, max_prompt

    def call_impl(self) -> bytes:
        """Polygraphy's hook of a call. Raises :class:`clasp_trt.errors.BackendError` for what cannot be built."""
        from clasp_trt.engines.tensorrt.compile import compile_graphs
        from clasp_trt.engines.tensorrt.profiles import longest_prompt

        bundle, graph = self._bundle, self._bundle.graph(self._graph)
        manifest = bundle.manifest
        most = longest_prompt(self._max_prompt, manifest.max_context, manifest.schedule.tokens)
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for name in manifest.files:
                if name == graph.path or name.startswith(f"{graph.path}."):  # its weights lie beside it
                    (root / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(bundle.path(name), root / name)
            alone = replace(manifest, graphs=(graph,))
            made = compile_graphs(
                root, alone, "loader", self._recipe,
                max_prompt=most, use_cache=False, memory_limit=None, progress=silent,
            )  # fmt: skip
            return (root / made.engines.engines[0].path).read_bytes()
