"""What the pipeline asks of a backend: tensors where the backend computes, and runners of graphs on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from clasp_trt.bundle import Graph

Tensor = Any
"""A tensor of the backend. The pipeline passes it on and never looks inside."""


class Runner(Protocol):
    """One loaded graph."""

    def __call__(self, inputs: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Runs the graph on ``inputs``; outputs named in ``into`` are written there, which may be an input of the
        same call; all others are new. Returns every output not in ``into``."""


class Backend(Protocol):
    """Loads graphs and moves tensors."""

    def load(self, path: Path, graph: Graph) -> Runner:
        """Loads one graph of a bundle. Raises :class:`clasp_trt.errors.BackendError` if the backend refuses it."""

    def upload(self, array: NDArray[Any]) -> Tensor:
        """A tensor with the contents of ``array``, which the caller will not change afterwards."""

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Tensor:
        """A tensor of zeros of a manifest dtype."""

    def rows(self, tensor: Tensor, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop`` of a tensor ``[1, rows, ...]``, without a copy where the backend can."""

    def download(self, tensor: Tensor) -> NDArray[Any]:
        """The contents of ``tensor`` on the host, the caller's own."""
