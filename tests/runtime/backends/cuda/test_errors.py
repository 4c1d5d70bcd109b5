"""What goes wrong on a device is one sentence, and leaves nothing behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clasp_trt.bundle import Bundle, HashMismatch
from clasp_trt.errors import BackendError, ClaspError, PromptError
from clasp_trt.methods import METHODS
from clasp_trt.runtime.backends.cuda import backend as module
from clasp_trt.runtime.backends.cuda.backend import CudaBackend, connect
from clasp_trt.runtime.backends.cuda.errors import _MEANINGS, sentence
from clasp_trt.runtime.backends.cuda.library import Library
from clasp_trt.runtime.backends.find import backend_for
from clasp_trt.runtime.pipeline import Pipeline
from clasp_trt.runtime.pipeline import load as load_pipeline
from clasp_trt.runtime.sampling import Sampling
from tests.mistakes import says
from tests.runtime.backends.cuda.conftest import VERSION, Rig
from tests.runtime.backends.cuda.null_driver import NullCuda
from tests.runtime.backends.cuda.null_tensorrt import NullTensorRT

pytestmark = pytest.mark.full  # CUDA on a null device

QUESTION = "How many cups are there?"
Rigs = Callable[..., Rig]


def _connect(bundle: Bundle, cuda: NullCuda, *, version: str = VERSION, refuse: str | None = None) -> CudaBackend:
    return connect(bundle, Library("tensorrt", NullTensorRT(cuda, bundle, version, refuse=refuse)), cuda)


def _one_line(error: pytest.ExceptionInfo[ClaspError], *facts: object) -> None:
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2
    says(error, *facts)


# --- before an engine is loaded -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sm", "version", "facts"),
    [("8.9", VERSION, ("SM 8.7", "SM 8.9")), ("8.7", "10.16.0", ("tensorrt 10.3.0", "10.16.0"))],
)
def test_engines_of_another_machine(
    compiled: Callable[..., Bundle], sm: str, version: str, facts: tuple[str, ...]
) -> None:
    cuda = NullCuda(sm=sm)
    with pytest.raises(BackendError) as error:
        _connect(compiled(), cuda, version=version)
    _one_line(error, *facts)
    assert cuda.left() == []


def test_a_damaged_engine_never_reaches_tensorrt(compiled: Callable[..., Bundle], tmp_path: Path) -> None:
    root = Path(shutil.copytree(compiled().root, tmp_path / "bundle"))
    engine = root / "engines" / "orin-agx-64" / "segment_1.engine"
    content = bytearray(engine.read_bytes())
    content[0] ^= 1
    engine.write_bytes(content)
    cuda = NullCuda()
    with pytest.raises(HashMismatch, match=r"segment_1\.engine"):
        _connect(Bundle.open(root), cuda)
    assert cuda.left() == []


def test_no_driver(compiled: Callable[..., Bundle]) -> None:
    class NoDriver(NullCuda):
        def cuInit(self, flags: int) -> tuple[Any, ...]:
            raise RuntimeError("Failed to dlopen libcuda.so.1")

    with pytest.raises(BackendError) as error:
        _connect(compiled(), NoDriver())
    _one_line(error, "CUDA driver", "Failed to dlopen libcuda.so.1", "--backend onnxruntime")


@pytest.mark.parametrize("function", ["cuInit", "cuDeviceGet"])
def test_no_gpu(compiled: Callable[..., Bundle], function: str) -> None:
    cuda = NullCuda()
    cuda.fail[function] = "CUDA_ERROR_NO_DEVICE"
    with pytest.raises(BackendError) as error:
        _connect(compiled(), cuda)
    _one_line(error, "CUDA GPU", "CUDA_ERROR_NO_DEVICE")


def test_bindings_or_library_that_are_not_installed(
    compiled: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("clasp_trt.plugins.library.import_module", missing)
    with pytest.raises(BackendError) as error:
        backend_for(compiled())
    _one_line(error, "tensorrt", "pip install")
    monkeypatch.setattr(module, "load_library", lambda backend: NullTensorRT(NullCuda(), compiled(), VERSION))
    monkeypatch.setattr("clasp_trt.plugins.driver.import_module", missing)
    with pytest.raises(BackendError) as error:
        backend_for(compiled())
    _one_line(error, "cuda.bindings.driver", "pip install")


def test_threads_mean_nothing_on_a_gpu(compiled: Callable[..., Bundle]) -> None:
    with pytest.raises(BackendError, match="--threads"):
        backend_for(compiled(), threads=2)


# --- while engines are loaded -------------------------------------------------------------------------------


def test_an_engine_that_tensorrt_refuses(compiled: Callable[..., Bundle]) -> None:
    cuda, bundle = NullCuda(), compiled()
    backend = _connect(bundle, cuda, refuse="gram")
    with pytest.raises(BackendError) as error:
        Pipeline(bundle, backend)
    _one_line(error, "tensorrt 10.3.0", "gram.engine", "the engine is not mine")
    backend.close()
    assert cuda.left() == []


def test_memory_that_is_not_there(compiled: Callable[..., Bundle]) -> None:
    """At load: what results need is allocated then, not in the midst of an answer."""
    cuda, bundle = NullCuda(memory=1 << 20), compiled()
    backend = _connect(bundle, cuda)
    with pytest.raises(BackendError) as error:
        Pipeline(bundle, backend)
    _one_line(error, "out of memory", "0.07 MB", "0.00 MB", "1.05 MB", "fp16")
    backend.close()
    assert cuda.left() == []


def test_engines_that_are_not_those_of_the_graphs(compiled: Callable[..., Bundle], tmp_path: Path) -> None:
    bundle, cuda = compiled(), NullCuda()
    backend = _connect(bundle, cuda)
    engines = backend._engines
    backend._engines = {**engines, "embed": engines["gram"]}
    with pytest.raises(BackendError) as error:
        backend.load(tmp_path, bundle.graph("embed"))
    _one_line(error, "graph embed", "manifest", "input", "rebuild")
    backend.close()
    assert cuda.left() == []


# --- while a request runs -----------------------------------------------------------------------------------


def test_a_prompt_that_is_too_long_for_the_profiles(
    rig: Rigs, compiled: Callable[..., Bundle], photos: dict[str, Path]
) -> None:
    here = rig(compiled(max_prompt=24))
    with pytest.raises(PromptError) as error:
        here.pipeline.generate(photos["coffee"], QUESTION * 2, max_new_tokens=2)
    _one_line(error, "34 tokens", 24)
    here.pipeline.generate(photos["coffee"], QUESTION, max_new_tokens=2)


def test_a_method_that_keeps_more_than_the_profiles_take(
    rig: Rigs, compiled: Callable[..., Bundle], photos: dict[str, Path]
) -> None:
    here = rig(compiled(max_prompt=24))
    with pytest.raises(BackendError) as error:
        here.pipeline.variant(method=METHODS["none"]).generate(photos["coffee"], QUESTION, max_new_tokens=2)
    _one_line(error, "graph segment_1", "1 to 31", "sequence", 39, "pruning method")
    here.pipeline.generate(photos["coffee"], QUESTION, max_new_tokens=2)


@pytest.mark.parametrize(
    ("function", "code", "meaning"),
    [
        ("cuStreamSynchronize", "CUDA_ERROR_ILLEGAL_ADDRESS", "address"),
        ("cuGraphLaunch", "CUDA_ERROR_SOMETHING_NEW", "driver"),
    ],
)
def test_a_device_that_fails(rig: Rigs, photos: dict[str, Path], function: str, code: str, meaning: str) -> None:
    here = rig()
    here.pipeline.generate(photos["coffee"], QUESTION, max_new_tokens=2)
    here.cuda.fail[function] = code
    with pytest.raises(BackendError) as error:
        here.pipeline.generate(photos["coffee"], QUESTION, max_new_tokens=2)
    _one_line(error, meaning, code)
    here.cuda.fail.clear()


def test_a_lost_device_is_told_of_once(compiled: Callable[..., Bundle]) -> None:
    """Closing cannot give back what is lost, and must not hide what happened."""
    bundle, cuda = compiled(), NullCuda()
    pipeline = Pipeline(bundle, _connect(bundle, cuda))
    cuda.fail["cuStreamSynchronize"] = "CUDA_ERROR_ILLEGAL_ADDRESS"
    with pytest.raises(BackendError, match="CUDA_ERROR_ILLEGAL_ADDRESS"), pipeline:
        pipeline.generate(None, QUESTION, max_new_tokens=2)
    pipeline.close()


def test_a_closed_pipeline_touches_the_device_no_more(rig: Rigs, photos: dict[str, Path]) -> None:
    """The null driver counts a use of what was given back as a violation; the stream is in the midst of an answer."""
    here = rig()
    steps = here.pipeline.stream(photos["coffee"], QUESTION, max_new_tokens=8)
    next(steps)
    here.pipeline.close()
    here.pipeline.close()
    assert here.cuda.left() == []
    for use in (lambda: list(steps), lambda: here.pipeline.generate(None, QUESTION)):
        with pytest.raises(BackendError, match="closed") as error:
            use()
        _one_line(error)


def test_a_bundle_that_does_not_load_leaves_nothing(
    compiled: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda, bundle = NullCuda(), compiled()
    monkeypatch.setattr(module, "load_library", lambda backend: NullTensorRT(cuda, bundle, VERSION, refuse="segment_2"))
    monkeypatch.setattr(module, "load_driver", lambda: cuda)
    with pytest.raises(BackendError, match=r"segment_2\.engine"):
        load_pipeline(bundle.root)
    assert cuda.left() == []


def test_logits_that_are_not_finite(rig: Rigs, photos: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    here = rig()
    real = here.backend.download

    def download(tensor: Any) -> Any:
        array = real(tensor)
        return array * 0 - 1 if tensor.shape == (1, 1) else array

    monkeypatch.setattr(here.backend, "download", download)
    with pytest.raises(BackendError, match="not finite"):
        here.pipeline.generate(photos["coffee"], QUESTION, max_new_tokens=2)


@pytest.mark.parametrize("sampling", [None, Sampling(temperature=1.0, seed=0)])
def test_an_overflow_does_not_outlive_its_request(
    rig: Rigs, photos: dict[str, Path], sampling: Sampling | None
) -> None:
    """NaN in a slot that the mask hides is NaN in the answer all the same."""
    here = rig()
    expected = here.pipeline.generate(photos["coffee"], QUESTION, max_new_tokens=4).token_ids
    for segment in here.pipeline._steps.decoder._caches.whole:
        for cache in segment.values():
            here.backend.write(cache, np.full(cache.shape, np.nan, np.float32))
    with pytest.raises(BackendError, match="overflowed"):
        here.pipeline.generate(photos["coffee"], QUESTION, max_new_tokens=4, sampling=sampling)
    assert here.pipeline.generate(photos["coffee"], QUESTION, max_new_tokens=4).token_ids == expected


def test_every_meaning_says_what_to_do() -> None:
    for code in (*_MEANINGS, "CUDA_ERROR_OF_TOMORROW"):
        line = sentence(code, "waiting for the GPU")
        assert line.startswith("waiting for the GPU: ")
        assert line.endswith(f" ({code})")
        assert ";" in line
