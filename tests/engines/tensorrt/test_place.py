"""What can be built here is known before any work, and elsewhere by which command."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from clasp_trt import targets
from clasp_trt.bundle import Graph, TensorSpec
from clasp_trt.engines.tensorrt import device, place
from clasp_trt.engines.tensorrt.library import Library
from clasp_trt.errors import BackendError, QuantizationError, TargetError
from clasp_trt.quantization import parse
from tests.mistakes import says


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """``gpu.sm`` is the compute capability of the GPU here; every library is installed."""
    here = SimpleNamespace(sm=None)
    monkeypatch.setattr(place, "compute_capability", lambda: here.sm)
    monkeypatch.setattr(place, "load", lambda backend: Library(backend, None, "1.2.3"))
    return here


def _check(name: str, backend: str, *, sms: tuple[str, ...] = (), is_bundle: bool = False) -> Library:
    target = targets.get(name)
    assert target.sm is not None
    return place.check(target, backend, sms or (target.sm,), "my model", is_bundle=is_bundle)


def test_rtx_builds_anywhere_for_several(gpu: SimpleNamespace) -> None:
    assert _check("rtx4090", "tensorrt-rtx", sms=("8.6", "8.9", "12.0")).backend == "tensorrt-rtx"


def test_rtx_knows_its_capabilities(gpu: SimpleNamespace) -> None:
    with pytest.raises(
        TargetError, match=r"^--sm 8\.7: tensorrt-rtx compiles for 7\.5, 8\.0, 8\.6, 8\.9, 12\.0, 12\.1$"
    ):
        _check("rtx4090", "tensorrt-rtx", sms=("8.9", "8.7"))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_turing_takes_half_precision_alone(precision: str) -> None:
    with pytest.raises(TargetError, match=rf"^--sm 7\.5 takes --precision fp16 alone, not {precision}"):
        place.check_precision(("8.9", "7.5"), precision)
    place.check_precision(("8.9", "8.0"), precision)
    place.check_precision(("7.5",), "fp16")


@pytest.mark.parametrize(
    ("backend", "version", "sms", "said"),
    [
        ("tensorrt-rtx", "1.7.1", ("7.5", "8.9"), ("--sm 7.5", "8.0", "--quantize int8")),
        ("tensorrt", "10.3.0", ("8.7",), ("tensorrt 10.3.0", "opset 20", "21", "10.16", "JetPack 7.2", "int8")),
    ],
)
def test_4_bit_weights_are_not_for_all(backend: str, version: str, sms: tuple[str, ...], said: tuple[str, ...]) -> None:
    library = Library(backend, None, version)
    with pytest.raises(QuantizationError) as refused:
        place.check_quantization(library, sms, parse("int4"))
    says(refused, "--quantize int4", *said)
    place.check_quantization(library, sms, parse("int8"))
    place.check_quantization(Library("tensorrt", None, "10.16.0"), ("8.7",), parse("int4"))
    place.check_quantization(Library("tensorrt-rtx", None, "1.7.1"), ("8.0", "12.1"), parse("int4"))


def test_tensorrt_builds_on_its_device(gpu: SimpleNamespace) -> None:
    gpu.sm = "8.7"
    assert _check("orin-agx-64", "tensorrt").backend == "tensorrt"
    with pytest.raises(TargetError, match=r"^--sm is for tensorrt-rtx: .* runs on, 8\.7$"):
        _check("orin-agx-64", "tensorrt", sms=("8.7", "8.9"))


def test_a_checkpoint_is_exported_here_and_completed_there(gpu: SimpleNamespace) -> None:
    with pytest.raises(BackendError) as error:
        _check("orin-agx-64", "tensorrt")
    assert str(error.value) == (
        "backend tensorrt builds on the device itself (orin-agx-64: SM 8.7), but this machine has no CUDA GPU; run "
        "`clasp-trt export 'my model' -o PORTABLE` here, copy PORTABLE to the device and run there: clasp-trt build "
        "PORTABLE -o OUT --target orin-agx-64; or add --backend onnxruntime to run on orin-agx-64 with what builds "
        "anywhere"
    )


def test_a_bundle_is_completed_there(gpu: SimpleNamespace) -> None:
    gpu.sm = "8.9"
    line = (
        r"the GPU of this machine is SM 8\.9; copy the bundle to the device and run there: clasp-trt build 'my model' "
    )
    with pytest.raises(BackendError, match=line):
        _check("thor", "tensorrt", is_bundle=True)


def test_a_backend_that_is_not_the_targets_first_is_named_in_the_command(gpu: SimpleNamespace) -> None:
    with pytest.raises(BackendError, match=r"-o OUT --target rtx3090 --backend.*--backend tensorrt-rtx or onnx"):
        _check("rtx3090", "tensorrt")


def test_a_machine_without_the_driver_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_DRIVER", "libno-such-driver.so.1")
    assert device.compute_capability() is None


def test_the_driver_s_cuda_is_told_by_its_major_version(monkeypatch: pytest.MonkeyPatch) -> None:
    class Driver:
        def cuDriverGetVersion(self, version: Any) -> int:
            version._obj.value = 12060
            return 0

    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: Driver())
    assert device.cuda_major() == 12


def test_a_machine_without_a_driver_has_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_DRIVER", "libno-such-driver.so.1")
    assert device.cuda_major() is None


@pytest.mark.parametrize("sms", [("7.5",), ("8.9", "7.5")])
def test_what_the_library_dies_of_is_refused(sms: tuple[str, ...]) -> None:
    def port(name: str) -> TensorSpec:
        return TensorSpec(name, "float16", (1,))

    def graph(layers: int, *outputs: str) -> Graph:
        caches = tuple(port(f"past_key_{layer}") for layer in range(layers))
        return Graph("segment_0", "graphs/segment_0.onnx", caches, tuple(map(port, outputs)))

    with pytest.raises(BackendError, match=r"--sm 7\.5.*segment_0, 3 "):
        place.check_graph(sms, graph(3, "hidden_out", "saliency"))
    place.check_graph(("8.9",), graph(3, "hidden_out", "saliency"))
    place.check_graph(sms, graph(1, "hidden_out", "saliency"))
    place.check_graph(sms, graph(3, "hidden_out"))
