"""The table of targets: complete, consistent with itself, and clear about what a device refuses."""

from __future__ import annotations

import pytest

from clasp_trt import schedule, targets
from clasp_trt.errors import TargetError
from clasp_trt.quantization import parse as parse_quantization
from clasp_trt.sparsity import parse as parse_sparsity

# SM versions that TensorRT for RTX compiles for.
RTX_SM = {"7.5", "8.0", "8.6", "8.9", "12.0", "12.1"}


def test_names() -> None:
    expected = "orin-agx-64 orin-agx-32 orin-nx-16 orin-nano-8 thor a100 h100 h200 l4 l40s"
    assert [*targets.TARGETS] == [*expected.split(), "rtx3090", "rtx4090", "rtx5090", "cpu"]


@pytest.mark.parametrize("target", targets.TARGETS.values(), ids=lambda target: target.name)
def test_every_row_is_consistent(target: targets.Target) -> None:
    assert targets.get(target.name) is target
    assert target.source
    assert target.backend == target.backends[0]
    assert set(target.backends) <= set(targets.BACKENDS)
    assert "onnxruntime" in target.backends
    assert ("tensorrt-rtx" in target.backends) == (target.sm in RTX_SM)
    assert set(target.precisions) <= set(targets.PRECISIONS)
    assert (target.sm is None) == (target.name == "cpu")
    assert (target.jetpack is None) == (target.python is None)
    figures = {name: getattr(target, name) for name in ("memory_gb", "bandwidth_gb_s", "fp16_tflops")}
    assert all(figure is None or figure > 0 for figure in figures.values())
    assert set(target.sources) == {name for name, figure in figures.items() if figure is not None}
    assert all("NVIDIA" in source and ", https://" in source for source in target.sources.values())
    assert target.builds_on == ("device" if target.backend == "tensorrt" else "anywhere")
    for backend in target.backends:
        old = (target.sm, backend) == ("8.7", "onnxruntime")  # JetPack 6 has ONNX Runtime 1.23
        assert target.opset(backend) == (23 if old else 24)
        for precision in target.precisions:
            if (backend, precision) != ("onnxruntime", "bf16"):
                targets.check(target, backend, precision)


@pytest.mark.parametrize(
    ("name", "tflops", "derivation"),
    [
        ("orin-agx-64", 170 / 4, "a quarter of the GPU's 170 sparse INT8 TOPS"),
        ("orin-agx-32", 108 / 4, "a quarter of the GPU's 108 sparse INT8 TOPS"),
        ("orin-nx-16", (157 - 80) / 4, "a quarter of the 77 sparse INT8 TOPS that its two DLAs leave to the GPU"),
        ("orin-nano-8", 67 / 4, "a quarter of its 67 sparse INT8 TOPS"),
        ("thor", 2070 / 8, "an eighth of its 2070 sparse FP4 TFLOPS"),
        ("h100", 1979 / 2, "half of its 1979 sparse TFLOPS"),
        ("l4", 242 / 2, "half of its 242 sparse TFLOPS"),
    ],
)
def test_compute_that_no_document_prints_says_how_it_follows(name: str, tflops: float, derivation: str) -> None:
    target = targets.get(name)
    assert target.fp16_tflops == tflops
    assert f": {derivation}" in target.sources["fp16_tflops"]
    assert derivation not in target.sources["memory_gb"]


def test_a_figure_without_a_source_is_none() -> None:
    cpu = targets.get("cpu")
    assert (cpu.memory_gb, cpu.bandwidth_gb_s, cpu.fp16_tflops, cpu.sources) == (None, None, None, {})


@pytest.mark.parametrize(
    ("version", "opset"),
    [
        ("10.0", 20),
        ("10.3.0.26", 20),
        ("10.9", 22),
        ("10.12.9", 22),
        ("10.13.3", 24),
        ("11.0", 25),
        ("12.1", 25),
    ],
)
def test_opset_of_a_tensorrt_release(version: str, opset: int) -> None:
    assert targets.max_opset(version) == opset


@pytest.mark.parametrize(
    ("version", "opset"), [("1.23.2", 23), ("1.24.0", 24), ("1.31.0.dev20260101", 24), ("2.0.0", 24)]
)
def test_opset_of_an_onnxruntime_release(version: str, opset: int) -> None:
    assert targets.onnxruntime_opset(version) == opset


def test_weights_beyond_a_devices_memory() -> None:
    """A model of 7.06e9 weights on 8 GB: in fp16 still too much, but fp32 is told of it."""
    nano, weights = targets.get("orin-nano-8"), 7_063_000_000
    with pytest.raises(TargetError, match=r"^the weights take 28\.3 GB in fp32,.*8 GB of orin-nano-8 "):
        targets.check_memory(nano, 4 * weights, "fp32")
    with pytest.raises(TargetError, match=r"14\.1 GB in fp16, .*a smaller checkpoint$"):
        targets.check_memory(nano, 2 * weights, "fp16")
    targets.check_memory(nano, 8 * 2**30, "fp32")
    targets.check_memory(targets.get("orin-agx-32"), 4 * weights, "fp32")
    targets.check_memory(targets.get("cpu"), 1 << 60, "fp32")


@pytest.mark.parametrize(("version", "line"), [("8.6.1", "too old"), ("ten", "10.13.3"), ("11", "10.13.3")])
def test_unreadable_tensorrt_release(version: str, line: str) -> None:
    with pytest.raises(TargetError, match=line):
        targets.max_opset(version)


@pytest.mark.parametrize(("typo", "meant"), [("orin-agx64", "orin-agx-64"), ("RTX4090", "rtx4090"), ("h20", "h200")])
def test_typo_is_met_with_the_nearest_name(typo: str, meant: str) -> None:
    with pytest.raises(TargetError, match=f"'{meant}'"):
        targets.get(typo)


def test_unknown_name_lists_all() -> None:
    with pytest.raises(TargetError, match=r"orin-agx-64,.*cpu"):
        targets.get("zx81")


@pytest.mark.parametrize(
    ("name", "backend", "precision", "line"),
    [
        ("cpu", "onnxruntime", "bf16", "no bf16 MatMul: choose fp32 or fp16$"),
        ("l4", "onnxruntime", "bf16", "no bf16 MatMul: choose fp32 or fp16, or another backend$"),
        ("cpu", "tensorrt", "fp32", "tensorrt does not run on cpu .*choose one of onnxruntime"),
        ("orin-nano-8", "tensorrt-rtx", "fp16", "does not run on orin-nano-8"),
        ("h200", "tensorrt-rtx", "fp16", "does not run on h200"),
        ("l4", "tensorrt", "fp8", "unknown precision 'fp8': choose one of fp32, fp16, bf16"),
        ("l4", "openvino", "fp16", "unknown backend 'openvino'"),
    ],
)
def test_refused_up_front(name: str, backend: str, precision: str, line: str) -> None:
    with pytest.raises(TargetError, match=line):
        targets.check(targets.get(name), backend, precision)


def test_a_selection_that_no_engine_makes_is_refused_where_engines_are() -> None:
    many = schedule.given(5000, 32, (3841,), (3,))
    for backend in targets.COMPILED:
        with pytest.raises(TargetError, match=rf"keeps 3841.*{backend} selects 3840 at most"):
            targets.check_selection(backend, many)
        targets.check_selection(backend, schedule.given(5000, 32, (3840,), (3,)))
        targets.check_selection(backend, schedule.none(5000, 32))
    targets.check_selection("onnxruntime", many)


@pytest.mark.parametrize(
    ("target", "backend", "sms", "asked", "quantize", "told"),
    [
        ("l4", "tensorrt", ("8.9",), "2:4", "none", None),
        ("l4", "tensorrt-rtx", ("8.0", "12.0"), "2:4,magnitude", "int8", None),
        ("l4", "tensorrt-rtx", ("7.5", "8.9"), "2:4", "none", "SM 7.5, 8.9: sparse products came with SM 8.0"),
        ("l4", "tensorrt", ("8.9",), "4:8", "none", "2:4 alone, not 4:8"),
        ("l4", "tensorrt", ("8.9",), "0.5", "none", "2:4 alone, not 0.5"),
        ("l4", "tensorrt", ("8.9",), "2:4", "int4", "4 bits"),
        ("l4", "onnxruntime", (), "2:4", "none", "ONNX Runtime"),
        ("cpu", "onnxruntime", (), "0.5", "none", "cpu"),
    ],
)
def test_what_zeros_buy(
    target: str, backend: str, sms: tuple[str, ...], asked: str, quantize: str, told: str | None
) -> None:
    scheme = parse_quantization(quantize).of("decoder")
    why = targets.zeros_in_vain(targets.get(target), backend, sms, parse_sparsity(asked), scheme)
    assert (why is None) is (told is None)
    assert (told or "") in (why or "")
