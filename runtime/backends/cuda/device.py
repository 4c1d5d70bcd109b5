"""Tensors on the device, and what they are made with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.errors import BackendError
from clasp_trt.runtime.backends.cuda.driver import Driver
from clasp_trt.runtime.backends.cuda.memory import Block, Part, Pool, Scratch
from clasp_trt.runtime.backends.cuda.recording import Recordings
from clasp_trt.runtime.backends.cuda.staging import Staging
from clasp_trt.runtime.backends.memory import Memory

ALIGNMENT = 256
"""Bytes to which TensorRT wants addresses aligned."""
ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "bool": 1}


class DeviceTensor:
    """A dense tensor of a manifest dtype. ``host`` is what it was made of, if that came from the host: an engine reads
    some inputs there, and these never travel."""

    def __init__(
        self,
        device: Device,
        shape: tuple[int, ...],
        dtype: str,
        block: Block | Part | None = None,
        host: NDArray[Any] | None = None,
    ) -> None:
        self.shape, self.dtype, self.host = shape, dtype, host
        self.variable = False
        self._device, self._block = device, block

    @property
    def nbytes(self) -> int:
        """Bytes of the contents."""
        return size_of(self.shape, self.dtype)

    @property
    def block(self) -> Block | Part:
        """What it is made of on the device; it gets there when that is first asked."""
        if self._block is None:
            self._block = self._device.placed(self)
        return self._block

    @property
    def address(self) -> int:
        """Where it is on the device."""
        return self.block.address


class Device(Memory[DeviceTensor]):
    """A driver, and the memory that tensors of one backend share."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.pool = Pool(driver)
        self.staging = Staging(driver)
        self.work = Scratch(driver, "the scratch memory of the engines")
        self.spare = Scratch(driver, "the second copy of a segment's cache")
        self.recordings = Recordings(driver, self.pool)

    def upload(self, array: NDArray[Any]) -> DeviceTensor:
        return DeviceTensor(self, array.shape, array.dtype.name, host=array)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> DeviceTensor:
        tensor = DeviceTensor(self, shape, dtype, self.pool.take(size_of(shape, dtype)))
        self.clear(tensor)
        return tensor

    def clear(self, tensor: DeviceTensor) -> None:
        if tensor.nbytes:
            self.driver.clear(tensor.address, tensor.nbytes)

    def spec(self, tensor: DeviceTensor) -> tuple[str, tuple[int, ...]]:
        return tensor.dtype, tensor.shape

    def write(self, tensor: DeviceTensor, array: NDArray[Any]) -> None:
        self._not_recorded()
        tensor.variable = True  # from now on its value on the host is not a fact about it
        self.staging.put(array, tensor.address)

    def rows(self, tensor: DeviceTensor, start: int, stop: int) -> DeviceTensor:
        shape = (1, stop - start, *tensor.shape[2:])
        size, row = size_of(shape, tensor.dtype), size_of((1, 1, *tensor.shape[2:]), tensor.dtype)
        part = DeviceTensor(self, shape, tensor.dtype, self.pool.take(size))
        if size:
            self.driver.copy(part.address, tensor.address + start * row, size)
        return part

    def join(self, tensors: Sequence[DeviceTensor]) -> DeviceTensor:
        first, rows = tensors[0], sum(tensor.shape[1] for tensor in tensors)
        sets = first.shape[0]
        shape = (sets, rows, *first.shape[2:])
        whole = DeviceTensor(self, shape, first.dtype, self.pool.take(size_of(shape, first.dtype)))
        place = whole.address
        for number in range(sets):
            for tensor in tensors:
                size = tensor.nbytes // sets
                if size:
                    self.driver.copy(place, tensor.address + number * size, size)
                place += size
        return whole

    def part(self, tensor: DeviceTensor, start: int, stop: int) -> DeviceTensor:
        shape = (stop - start, *tensor.shape[1:])
        slot = tensor.nbytes // max(1, tensor.shape[0])
        if start * slot % ALIGNMENT:
            raise BackendError(
                f"a slot of a cache {tensor.dtype}{list(tensor.shape)} has {slot} bytes, but TensorRT wants multiples "
                f"of {ALIGNMENT}; give 1 slot"
            )
        return DeviceTensor(self, shape, tensor.dtype, Part(tensor.block, start * slot, size_of(shape, tensor.dtype)))

    def copy(self, to: DeviceTensor, source: DeviceTensor) -> None:
        if to.nbytes:
            self.driver.copy(to.address, source.address, to.nbytes)

    def download(self, tensor: DeviceTensor) -> NDArray[Any]:
        if tensor.dtype == "bfloat16":
            raise BackendError(
                "a bfloat16 tensor cannot be read on the host; use a pruning method that is compiled, or build with "
                "--precision fp16"
            )
        return self.staging.get(tensor.address, tensor.shape, tensor.dtype)

    def placed(self, tensor: DeviceTensor) -> Block:
        """A block with the contents that ``tensor`` has on the host."""
        self._not_recorded()
        block = self.pool.take(tensor.nbytes)
        if tensor.host is not None:
            self.staging.put(tensor.host, block.address)
        return block

    def close(self) -> None:
        """Gives everything back, once nothing is under way; no tensor can be used afterwards."""
        for owner in (self.pool, self.work, self.spare, self.staging):
            owner.close()
        self.driver.close()

    def _not_recorded(self) -> None:
        if self.recordings.recording:
            raise RuntimeError("a copy from the host would be recorded, and repeated with whatever is there by then")


def size_of(shape: tuple[int, ...], dtype: str) -> int:
    """Bytes of a dense tensor."""
    return int(np.prod(shape, dtype=np.int64)) * ITEM_BYTES[dtype]
