"""What runs graphs: an author gives :meth:`Backend.load_graph` and a memory, and the base sees to the rest."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from numpy.typing import NDArray

from clasp_trt.bundle import Graph
from clasp_trt.errors import BackendError
from clasp_trt.runtime.backends.checked import CLOSED, Calls, Checked, Runner
from clasp_trt.runtime.backends.memory import Memory
from clasp_trt.shortage import memory_for
from clasp_trt.tensors import BYTES

__all__ = ["Backend", "Runner", "Tensor"]

Tensor = object
"""A tensor of a backend, for those who pass it on and never look inside."""

T = TypeVar("T")
S = TypeVar("S")
B = TypeVar("B", bound="Backend[Any]")


class Backend(ABC, Generic[T]):
    """Loads graphs and keeps tensors of type ``T``.

    A backend is :meth:`load_graph`, a :class:`~clasp_trt.runtime.backends.memory.Memory`, and what it wants to override
    of :meth:`run_step`, :meth:`release`, :meth:`check_prompt` and of these numbers:

    - ``prefill_rows`` is the most rows of a prompt that the last segment takes at a time, None for all.
    - ``kv_block`` is how far a decode step may round up the cache slots that it reads, so that steps repeat: 1 reads
      none in vain.
    - ``most_slots`` is how many requests a step may be for, None for any number.
    - ``chooses`` tells whether the most likely token is to be found where the logits are, and not on the host.

    The others are for the pipeline. They raise :class:`BackendError` once the backend is closed.
    """

    prefill_rows: int | None = None
    kv_block: int = 1
    most_slots: int | None = None
    chooses: bool = False

    def __init__(self, memory: Memory[T]) -> None:
        self._memory, self._closed = memory, False
        self._loaded: WeakSet[Checked[T]] = WeakSet()
        self._calls = Calls()

    # --- for the author -------------------------------------------------------------------------------------

    @abstractmethod
    def load_graph(self, path: Path, graph: Graph) -> Runner[T]:
        """Loads one graph of a bundle, of which ``path`` is the ONNX file. Its runner gets inputs that fit ``graph``;
        it may leave ``into`` alone and return all outputs. Raises :class:`BackendError` if the backend refuses it."""

    def run_step(self, key: Hashable, step: Callable[[], S]) -> S:
        """See :meth:`repeat`."""
        return step()

    def release(self) -> None:
        """Gives back what is not given back with the last reference to it; called once."""

    def check_prompt(self, text_tokens: int) -> None:
        """Raises :class:`clasp_trt.errors.PromptError` for a prompt with more text than the backend takes."""

    # --- for the pipeline -----------------------------------------------------------------------------------

    @property
    def memory(self) -> Memory[T]:
        """Where the tensors are."""
        if self._closed:
            raise BackendError(CLOSED)
        return self._memory

    def load(self, path: Path, graph: Graph) -> Runner[T]:
        """Loads one graph of a bundle, of which ``path`` is the ONNX file. Raises :class:`BackendError` if the backend
        refuses it."""
        memory = self.memory
        loaded = Checked(self.load_graph(path, graph), graph, memory, self._calls)
        self._loaded.add(loaded)
        return loaded

    def upload(self, array: NDArray[Any]) -> T:
        """See :meth:`Memory.upload`."""
        return self.memory.upload(array)

    def write(self, tensor: T, array: NDArray[Any]) -> None:
        """See :meth:`Memory.write`. Raises :class:`RuntimeError` for another shape or dtype."""
        memory = self.memory
        dtype, shape = memory.spec(tensor)
        if array.shape != shape or array.dtype != dtype:
            raise RuntimeError(f"{array.dtype}{array.shape} does not fit a tensor {dtype}{shape}")
        memory.write(tensor, array)

    def download(self, tensor: T) -> NDArray[Any]:
        """See :meth:`Memory.download`."""
        return self.memory.download(tensor)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> T:
        """See :meth:`Memory.zeros`. Raises :class:`~clasp_trt.errors.ShortageError` if they are not to be had."""
        memory, needed = self.memory, prod(shape) * BYTES[dtype]
        with memory_for(f"for a tensor {dtype}{list(shape)}", needed):
            if prod(size or 1 for size in shape) * BYTES[dtype] > sys.maxsize:  # numpy calls that another error
                raise MemoryError
            return memory.zeros(shape, dtype)

    def clear(self, tensor: T) -> None:
        """See :meth:`Memory.clear`."""
        self.memory.clear(tensor)

    def rows(self, tensor: T, start: int, stop: int) -> T:
        """See :meth:`Memory.rows`."""
        return self.memory.rows(tensor, start, stop)

    def part(self, tensor: T, start: int, stop: int) -> T:
        """See :meth:`Memory.part`."""
        return self.memory.part(tensor, start, stop)

    def copy(self, to: T, source: T) -> None:
        """See :meth:`Memory.copy`. Raises :class:`RuntimeError` for another shape or dtype."""
        memory = self.memory
        if memory.spec(to) != memory.spec(source):
            raise RuntimeError(f"{memory.spec(source)} does not fit a tensor {memory.spec(to)}")
        memory.copy(to, source)

    def join(self, tensors: Sequence[T]) -> T:
        """See :meth:`Memory.join`; one tensor is its own. Raises :class:`RuntimeError` for none, or others than that
        takes."""
        memory = self.memory
        kinds = {(dtype, shape[:1], shape[2:]) for dtype, shape in map(memory.spec, tensors)}
        if len(kinds) != 1:
            raise RuntimeError(f"tensors {[memory.spec(tensor) for tensor in tensors]} cannot be joined by their rows")
        return tensors[0] if len(tensors) == 1 else memory.join(tensors)

    def nbytes(self, tensor: T) -> int:
        """How many bytes of :attr:`memory` a tensor is."""
        dtype, shape = self.memory.spec(tensor)
        return prod(shape) * BYTES[dtype]

    def repeat(self, key: Hashable, step: Callable[[], S]) -> S:
        """What ``step`` returns, which runs graphs and does nothing else. With an equal ``key`` it always runs the same
        graphs on the same tensors, whose contents alone differ; so a backend may record it, and replay it later. The
        result holds until the next step."""
        if self._closed:
            raise BackendError(CLOSED)
        calls = self._calls
        calls.in_step = True
        try:
            result = self.run_step(key, step)
        finally:
            calls.in_step = False
        calls.step_is_known = True
        return result

    def close(self) -> None:
        """Gives back what the backend holds; its tensors and runners cannot be used afterwards."""
        if self._closed:
            return
        self._closed = True
        try:
            self.release()
        finally:
            for loaded in self._loaded:
                loaded.end()

    def __enter__(self: B) -> B:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
