"""One CUDA device and one stream on it, through the driver API.

The module ``cuda.bindings.driver`` is passed in, so that tests pass one that checks every call. No more of it is used
than the calls below. All work goes to one stream: what is asked for later happens later, so a buffer that is given back
may be handed out again at once.
"""

from __future__ import annotations

import threading
from typing import Any

from clasp_trt.errors import BackendError
from clasp_trt.runtime.backends.cuda.errors import out_of_memory, sentence

NAME_BYTES = 128


class Driver:
    """The first visible GPU; everything raises :class:`BackendError` with one sentence when the driver refuses.

    ``name`` is the device's own, ``compute_capability`` such as ``"8.9"``, ``stream`` the handle of the one stream.
    Addresses are integers. :meth:`close` gives stream and device back; memory must be given back before.
    """

    def __init__(self, api: Any) -> None:
        self._api = api
        self._context: Any = None
        self._thread: int | None = None
        try:
            self._call("cuInit", 0, doing="starting CUDA")
        except RuntimeError as error:  # how cuda-bindings says that there is no libcuda
            raise BackendError(
                f"there is no CUDA driver here ({error}); install NVIDIA's driver, or in a container pass the GPU on, "
                "or build the bundle with --backend onnxruntime"
            ) from error
        self._device = self._call("cuDeviceGet", 0, doing="looking for a GPU")
        kinds = api.CUdevice_attribute
        major, minor = (
            self._call("cuDeviceGetAttribute", kind, self._device, doing="asking for the compute capability")
            for kind in (
                kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        )
        self.compute_capability = f"{major}.{minor}"
        name = self._call("cuDeviceGetName", NAME_BYTES, self._device, doing="asking for the name of the GPU")
        self.name = name.partition(b"\0")[0].decode(errors="replace")
        # the primary context, which TensorRT works in as well
        self._context = self._call("cuDevicePrimaryCtxRetain", self._device, doing=f"opening {self.name}")
        # not the default stream: that one waits for others, and cannot be captured
        self._stream = self._call("cuStreamCreate", api.CUstream_flags.CU_STREAM_NON_BLOCKING, doing="making a stream")
        self.stream = int(self._stream)

    def memory(self) -> tuple[int, int]:
        """Bytes of the device that are free, and all of them."""
        free, total = self._call("cuMemGetInfo", doing="asking for free memory")
        return int(free), int(total)

    def allocate(self, size: int, what: str) -> int:
        """The address of ``size`` bytes on the device, for ``what``; aligned to 256 bytes at least."""
        self._enter()
        code, address = self._api.cuMemAlloc(size)
        if code == self._api.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
            raise BackendError(out_of_memory(what, size, *self.memory()))
        self._check(code, f"allocating {size} bytes for {what}")
        return int(address)

    def free(self, address: int) -> None:
        """Gives memory of :meth:`allocate` back; no work may be under way on it."""
        self._call("cuMemFree", address, doing="freeing memory of the GPU")

    def allocate_pinned(self, size: int) -> int:
        """The address of ``size`` bytes on the host that the device can copy from and to while the host goes on."""
        return int(self._call("cuMemHostAlloc", size, 0, doing=f"pinning {size} bytes of the host's memory"))

    def free_pinned(self, address: int) -> None:
        """Gives memory of :meth:`allocate_pinned` back; no copy may be under way on it."""
        self._call("cuMemFreeHost", address, doing="freeing pinned memory")

    def copy_in(self, to: int, source: int, size: int) -> None:
        """Copies pinned bytes to the device, some time before the next :meth:`wait` ends."""
        self._call("cuMemcpyHtoDAsync", to, source, size, self._stream, doing="copying to the GPU")

    def copy_out(self, to: int, source: int, size: int) -> None:
        """Copies bytes of the device to pinned ones, some time before the next :meth:`wait` ends."""
        self._call("cuMemcpyDtoHAsync", to, source, size, self._stream, doing="copying from the GPU")

    def copy(self, to: int, source: int, size: int) -> None:
        """Copies bytes of the device to others of it that they do not overlap."""
        self._call("cuMemcpyDtoDAsync", to, source, size, self._stream, doing="copying on the GPU")

    def clear(self, address: int, size: int) -> None:
        """Sets bytes of the device to 0."""
        self._call("cuMemsetD8Async", address, 0, size, self._stream, doing="clearing memory of the GPU")

    def wait(self) -> None:
        """Returns when all that was asked for is done. Raises what went wrong on the device since the last time."""
        self._call("cuStreamSynchronize", self._stream, doing="waiting for the GPU")

    def begin_capture(self) -> None:
        """From now on work of this thread is recorded and not done, until :meth:`end_capture`."""
        mode = self._api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("cuStreamBeginCapture", self._stream, mode, doing="recording a step")

    def end_capture(self) -> Any:
        """What was recorded since :meth:`begin_capture`, for :meth:`launch`."""
        graph = self._call("cuStreamEndCapture", self._stream, doing="recording a step")
        try:
            return self._call("cuGraphInstantiate", graph, 0, doing="preparing a recorded step")
        finally:
            self._call("cuGraphDestroy", graph, doing="dropping a recorded step")

    def launch(self, recorded: Any) -> None:
        """Does what was recorded, at the very addresses of then."""
        self._call("cuGraphLaunch", recorded, self._stream, doing="running a recorded step")

    def drop(self, recorded: Any) -> None:
        """Lets a recording go."""
        self._call("cuGraphExecDestroy", recorded, doing="dropping a recorded step")

    def close(self) -> None:
        """Gives the stream and the device back."""
        self._call("cuStreamDestroy", self._stream, doing="dropping the stream")
        self._call("cuDevicePrimaryCtxRelease", self._device, doing="closing the GPU")

    def _enter(self) -> None:
        """The driver keeps a current context for each thread; requests may come from another one than loaded us."""
        thread = threading.get_ident()
        if self._thread != thread:
            self._check(self._api.cuCtxSetCurrent(self._context)[0], "entering the GPU's context")
            self._thread = thread

    def _call(self, function: str, *arguments: Any, doing: str) -> Any:
        """What ``function`` gives beside its code: nothing, one value, or a tuple."""
        if self._context is not None:
            self._enter()
        code, *values = getattr(self._api, function)(*arguments)
        self._check(code, doing)
        return values[0] if len(values) == 1 else tuple(values)

    def _check(self, code: Any, doing: str) -> None:
        if code != self._api.CUresult.CUDA_SUCCESS:
            raise BackendError(sentence(code.name, doing))
