"""Where the tensors of a backend live, and the ways in and out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from clasp_trt.errors import BackendError

T = TypeVar("T")

_name = lru_cache(str)  # numpy takes longer for a name than ONNX Runtime for an operator


class Memory(ABC, Generic[T]):
    """Tensors of type ``T``: :meth:`upload`, :meth:`write` and :meth:`download` make a memory, and the rest follows.

    Override what follows where the device does it without the host. Dtypes are those of the manifest: float32,
    float16, bfloat16, int64 and bool.
    """

    @abstractmethod
    def upload(self, array: NDArray[Any]) -> T:
        """A tensor with the contents of ``array``, which the caller will not change afterwards."""

    @abstractmethod
    def write(self, tensor: T, array: NDArray[Any]) -> None:
        """Replaces the contents of ``tensor`` by those of ``array``, of the same shape and dtype; the tensor stays
        where it is."""

    @abstractmethod
    def download(self, tensor: T) -> NDArray[Any]:
        """The contents of ``tensor`` on the host, the caller's own, once they are computed."""

    def spec(self, tensor: T) -> tuple[str, tuple[int, ...]]:
        """Dtype and shape of ``tensor``, asked for in every call of a graph; here by numpy's names for them."""
        numpy_like: Any = tensor
        return _name(numpy_like.dtype), tuple(numpy_like.shape)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> T:
        """A tensor of zeros."""
        if dtype == "bfloat16":
            raise BackendError("bfloat16 does not run here: numpy lacks it; build with --precision fp16 or fp32")
        return self.upload(np.zeros(shape, dtype=dtype))

    def clear(self, tensor: T) -> None:
        """Sets the contents of ``tensor`` to 0; it stays where it is."""
        dtype, shape = self.spec(tensor)
        self.write(tensor, np.zeros(shape, dtype=dtype))

    def rows(self, tensor: T, start: int, stop: int) -> T:
        """Rows ``start`` to ``stop`` of a tensor ``[1, rows, ...]``, without a copy where that is possible."""
        return self.upload(self.download(tensor)[:, start:stop])

    def part(self, tensor: T, start: int, stop: int) -> T:
        """Slots ``start`` to ``stop`` of a tensor ``[slots, ...]``, in its own memory: what is written to one is in the
        other. Raises :class:`BackendError` where tensors cannot share theirs."""
        raise BackendError("this backend cannot divide its caches into slots; give 1 slot")

    def copy(self, to: T, source: T) -> None:
        """Replaces the contents of ``to`` by those of ``source``, of the same shape and dtype."""
        self.write(to, self.download(source))

    def join(self, tensors: Sequence[T]) -> T:
        """Tensors ``[sets, rows, ...]``, one at least, alike but for their rows, as one with all of these in order."""
        return self.upload(np.concatenate([self.download(tensor) for tensor in tensors], axis=1))


class HostMemory(Memory[NDArray[Any]]):
    """Arrays of numpy as they are."""

    def upload(self, array: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(array, order="C")

    def write(self, tensor: NDArray[Any], array: NDArray[Any]) -> None:
        tensor[...] = array

    def download(self, tensor: NDArray[Any]) -> NDArray[Any]:
        return np.array(tensor)

    def rows(self, tensor: NDArray[Any], start: int, stop: int) -> NDArray[Any]:
        return self.upload(tensor[:, start:stop])

    def part(self, tensor: NDArray[Any], start: int, stop: int) -> NDArray[Any]:
        return tensor[start:stop]
