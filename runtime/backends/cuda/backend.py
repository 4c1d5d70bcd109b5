"""A bundle's engines as a backend of the runtime."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

from clasp_trt.bundle import Bundle, Graph
from clasp_trt.errors import BackendError, PromptError
from clasp_trt.plugins import load_driver, register
from clasp_trt.plugins.library import load_library
from clasp_trt.runtime.backends.cuda.device import Device, DeviceTensor
from clasp_trt.runtime.backends.cuda.driver import Driver
from clasp_trt.runtime.backends.cuda.library import Library
from clasp_trt.runtime.backends.cuda.loadable import check_loadable
from clasp_trt.runtime.backends.cuda.session import Session
from clasp_trt.runtime.backends.interface import Backend

S = TypeVar("S")

KV_BLOCK = 256
"""Slots by which a recorded step grows. A step then reads 128 empty slots more than it needs to on average: 0.5 % of
the bytes of a 7B decoder in fp16, 67 MB beside 13.5 GB of weights. A context of 2048 has 8 recordings, not 2048."""


class CudaBackend(Backend[DeviceTensor]):
    """Runs the engines of ``bundle`` on the first GPU. Tensors stay on the device; see ``docs/runtime-gpu.md``.

    With ``timed``, every call of an engine waits for its end and no step is recorded, so that clocks on the host tell
    what each took. With ``trace``, a folder, each engine also writes there what its layers took, when it is closed.
    A prompt is taken in one piece: a chunk would read all weights again.
    """

    chooses = True

    def __init__(
        self,
        bundle: Bundle,
        driver: Driver,
        library: Library,
        *,
        timed: bool = False,
        trace: Path | None = None,
        kv_block: int = KV_BLOCK,
    ) -> None:
        engines = bundle.manifest.engines
        assert engines is not None
        self.device = Device(driver)
        super().__init__(self.device)
        self._bundle, self._library = bundle, library
        self._timed, self._trace = timed or trace is not None, trace
        self._max_prompt = engines.max_prompt
        self.most_slots = bundle.manifest.slots
        self._engines = {engine.graph: engine for engine in engines.engines}
        self.device.recordings.enabled = not self._timed
        self.kv_block = kv_block
        self._sessions: list[Session] = []

    def load_graph(self, path: Path, graph: Graph) -> Session:
        """The engine of ``graph``, wherever its ONNX file is."""
        engine = self._engines[graph.name]
        path = self._bundle.path(engine.path)  # not that of the ONNX file
        session = Session(
            self.device, self._library, graph, path, engine.profiles, timed=self._timed, trace=self._trace
        )
        self._sessions.append(session)
        return session

    def run_step(self, key: Hashable, step: Callable[[], S]) -> S:
        return self.device.recordings.run(key, step)

    def check_prompt(self, text_tokens: int) -> None:
        if text_tokens > self._max_prompt:
            raise PromptError(
                f"the prompt has {text_tokens} tokens of text, but the engines were built for {self._max_prompt}; "
                "shorten it, or build with a larger --max-prompt"
            )

    def release(self) -> None:
        try:
            self.device.staging.wait()
        except BackendError:  # the device is lost, which was said when it happened; the process's end gives it back
            return
        self.device.recordings.close()  # before the contexts that they were recorded from
        for session in self._sessions:
            session.close()
        self._sessions.clear()
        self._library.close()
        self.device.close()


def open_backend(
    bundle: Bundle,
    *,
    threads: int | None = None,
    trace: Path | None = None,
    provider: str | None = None,
    timed: bool = False,
) -> CudaBackend:
    """See :class:`clasp_trt.runtime.backends.find.Opens`; all is checked that can be before an engine is loaded.

    Raises :class:`clasp_trt.errors.BackendError` without a GPU, TensorRT or cuda-bindings, and for engines of another
    library or GPU; :class:`~clasp_trt.errors.BundleError` for a damaged file.
    """
    if threads is not None:
        raise BackendError("threads are those of the CPU, but the bundle's engines run on a GPU; leave --threads out")
    library = Library(bundle.manifest.backend, load_library(bundle.manifest.backend))
    return connect(bundle, library, load_driver(), timed=timed, trace=trace)


def connect(
    bundle: Bundle,
    library: Library,
    api: Any,
    *,
    timed: bool = False,
    trace: Path | None = None,
    kv_block: int = KV_BLOCK,
) -> CudaBackend:
    """:func:`open_backend` with ``library`` and the bindings of the driver as they are given."""
    driver = Driver(api)
    try:
        check_loadable(bundle, library.backend, library.version, driver.compute_capability)
        if bundle.manifest.engines is not None and any(each.plugins for each in bundle.manifest.engines.engines):
            register(library.module)
    except BaseException:
        driver.close()
        raise
    return CudaBackend(bundle, driver, library, timed=timed, trace=trace, kv_block=kv_block)
