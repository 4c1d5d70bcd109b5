"""The table of targets: complete, consistent with itself, and clear about what a device refuses."""

from __future__ import annotations

import pytest

from clasp_trt import targets
from clasp_trt.errors import TargetError

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
    for figure in (target.memory_gb, target.bandwidth_gb_s, target.fp16_tflops):
        assert figure is None or figure > 0
    assert target.builds_on == ("device" if target.backend == "tensorrt" else "anywhere")
    assert target.opset == 24
    for backend in target.backends:
        for precision in target.precisions:
            if (backend, precision) != ("onnxruntime", "bf16"):
                targets.check(target, backend, precision)


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


@pytest.mark.parametrize(("version", "line"), [("8.6.1", "too old"), ("ten", "10.13.3"), ("11", "10.13.3")])
def test_unreadable_tensorrt_release(version: str, line: str) -> None:
    with pytest.raises(TargetError, match=line):
        targets.max_opset(version)


@pytest.mark.parametrize(("typo", "meant"), [("orin-agx64", "orin-agx-64"), ("RTX4090", "rtx4090"), ("h20", "h200")])
def test_typo_is_met_with_the_nearest_name(typo: str, meant: str) -> None:
    with pytest.raises(TargetError, match=f"did you mean '{meant}'"):
        targets.get(typo)


def test_unknown_name_lists_all() -> None:
    with pytest.raises(TargetError, match=r"choose one of orin-agx-64, .*cpu"):
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
