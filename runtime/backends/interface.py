"""What the pipeline asks of a backend: tensors where the backend computes, and runners of graphs on them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from clasp_trt.bundle import Graph

Tensor = Any
"""A tensor of the backend. The pipeline passes it on and never looks inside."""

T = TypeVar("T")


class Runner(Protocol):
    """One loaded graph."""

    def __call__(self, inputs: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Runs the graph on ``inputs``; outputs named in ``into`` are written there, which may be an input of the
        same call; all others are new. Returns every output not in ``into``, perhaps before it is computed:
        :meth:`Backend.download` waits."""


class Backend(Protocol):
    """Loads graphs and moves tensors.

    ``prefill_rows`` is the most rows of a prompt that the last segment takes at a time, None for all. ``kv_block`` is
    how far a decode step may round up the cache slots that it reads, so that steps repeat: 1 reads none in vain.
    ``chooses`` tells whether the most likely token is to be found on the device, ``compiled`` whether it runs the
    bundle's engines, which take the sizes of their profiles alone.
    """

    @property
    def prefill_rows(self) -> int | None: ...

    @property
    def kv_block(self) -> int: ...

    @property
    def chooses(self) -> bool: ...

    @property
    def compiled(self) -> bool: ...

    def load(self, path: Path, graph: Graph) -> Runner:
        """Loads one graph of a bundle, of which ``path`` is the ONNX file. Raises
        :class:`clasp_trt.errors.BackendError` if the backend refuses it."""

    def upload(self, array: NDArray[Any]) -> Tensor:
        """A tensor with the contents of ``array``, which the caller will not change afterwards."""

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Tensor:
        """A tensor of zeros of a manifest dtype."""

    def write(self, tensor: Tensor, array: NDArray[Any]) -> None:
        """Replaces the contents of ``tensor`` by those of ``array``, of the same shape and dtype; the tensor stays
        where it is."""

    def clear(self, tensor: Tensor) -> None:
        """Sets the contents of ``tensor`` to 0; it stays where it is."""

    def rows(self, tensor: Tensor, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop`` of a tensor ``[1, rows, ...]``, without a copy where the backend can."""

    def download(self, tensor: Tensor) -> NDArray[Any]:
        """The contents of ``tensor`` on the host, the caller's own."""

    def repeat(self, key: Hashable, step: Callable[[], T]) -> T:
        """What ``step`` returns, which runs graphs and does nothing else. With an equal ``key`` it always runs the same
        graphs on the same tensors, whose contents alone differ; so a backend may record it, and replay it later. The
        result holds until the next step."""

    def close(self) -> None:
        """Gives back what the backend holds; tensors and runners cannot be used afterwards."""
