"""What a version of TensorRT reads, and where it builds."""

from __future__ import annotations

import pytest

from clasp_trt.engines.tensorrt.library import Library


@pytest.mark.parametrize(
    ("backend", "version", "opset"),
    [
        ("tensorrt", "10.3.0", 20),
        ("tensorrt", "10.13.3.9", 20),  # reads opset 24, and lacks its operators
        ("tensorrt", "10.16.1", 24),
        ("tensorrt", "11.4.1", 24),
        ("tensorrt-rtx", "1.7.1.116", 24),
    ],
)
def test_the_opset_that_its_parser_knows_whole(backend: str, version: str, opset: int) -> None:
    assert Library(backend, None, version).opset == opset


def test_only_rtx_builds_ahead() -> None:
    assert Library("tensorrt-rtx", None, "1").ahead
    assert not Library("tensorrt", None, "11").ahead
