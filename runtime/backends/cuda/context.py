"""An execution context of TensorRT that is told nothing twice."""

from __future__ import annotations

from typing import Any

import numpy as np

from clasp_trt.errors import BackendError
from clasp_trt.runtime.backends.cuda.device import Device
from clasp_trt.runtime.backends.cuda.library import Library


class Context:
    """``context`` of an engine of ``graph`` under its profile ``number``.

    What does not change between two runs is not set again. So a step can be recorded right after it ran: nothing of it
    is pending then.
    """

    def __init__(self, graph: str, library: Library, context: Any, number: int, device: Device) -> None:
        self._graph, self._library, self._context, self._device = graph, library, context, device
        self._stream = device.driver.stream
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._values: dict[str, np.ndarray] = {}
        self._work: int | None = None
        self._inferred = False
        if not self._context.set_optimization_profile_async(number, self._stream):
            raise self._refusal(f"profile {number}")

    def set_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """The shape of an input."""
        if self._shapes.get(name) != shape:
            if not self._context.set_input_shape(name, shape):
                raise self._refusal(f"shape {shape} of {name}")
            self._shapes[name], self._inferred = shape, False

    def set_host_value(self, name: str, value: int) -> None:
        """The one element, int64, of an input that is read on the host."""
        known = self._values.get(name)
        if known is None or known.item() != value:
            if known is not None:
                self._device.staging.hold(known)  # TensorRT may read it until the device is waited for
            self._values[name] = np.array([value], dtype=np.int64)
            self.set_address(name, self._values[name].ctypes.data)
            self._inferred = False

    def set_address(self, name: str, address: int) -> None:
        """Where an input or output is."""
        if self._addresses.get(name) != address:
            if not self._context.set_tensor_address(name, address):
                raise self._refusal(f"address of {name}")
            self._addresses[name] = address

    def infer(self) -> None:
        """Works out the shapes of the outputs from all that was set."""
        if not self._inferred:
            if lacking := self._context.infer_shapes():
                raise self._refusal(f"sizes of {', '.join(lacking)}")
            self._inferred = True

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an output."""
        shape = tuple(self._context.get_tensor_shape(name))
        if min(shape, default=0) < 0:
            raise BackendError(f"graph {self._graph}: the size of {name} depends on the data; rebuild the bundle")
        return shape

    def run(self, work: int, size: int) -> None:
        """Asks for one run, with ``size`` bytes of scratch memory at ``work``."""
        if self._work != work:
            self._context.set_device_memory(work, size)
            self._work = work
        if not self._context.execute_async_v3(self._stream):
            raise BackendError(f"{self._library.backend} failed in graph {self._graph}: {self._library.complaint()}")

    def capturable(self) -> bool:
        """Whether a run can be recorded; TensorRT for RTX alone knows engines for which it cannot."""
        ask = getattr(self._context, "is_stream_capturable", None)
        return ask is None or bool(ask(self._stream))

    def _refusal(self, what: str) -> BackendError:
        return BackendError(f"graph {self._graph}: {self._library.backend} refuses {what}: {self._library.complaint()}")
