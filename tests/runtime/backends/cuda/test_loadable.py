"""Engines of another library, release or GPU are refused before TensorRT sees them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clasp_trt.bundle import Bundle, HashMismatch
from clasp_trt.errors import BackendError
from clasp_trt.runtime.backends.cuda.loadable import check_loadable
from tests.runtime.backends.cuda.conftest import TARGETS, VERSION

Compiled = Callable[..., Bundle]


@pytest.mark.parametrize("backend", TARGETS)
def test_engines_for_this_machine_are_loadable(compiled: Compiled, backend: str) -> None:
    check_loadable(compiled(backend), backend, VERSION, TARGETS[backend][1])


@pytest.mark.parametrize(
    ("backend", "version", "sm", "named"),
    [
        ("tensorrt", VERSION, "8.6", "SM 8.7, but the GPU here is SM 8.6"),
        ("tensorrt", VERSION, None, "there is no CUDA GPU here"),
        ("tensorrt", "10.4.0", "8.7", f"built by tensorrt {VERSION}, .* but 10.4.0 is installed"),
        ("tensorrt-rtx", VERSION, "8.7", "for backend tensorrt, not for tensorrt-rtx"),
    ],
)
def test_engines_of_others_are_refused(
    compiled: Compiled, backend: str, version: str, sm: str | None, named: str
) -> None:
    with pytest.raises(BackendError, match=named) as error:
        check_loadable(compiled(), backend, version, sm)
    assert "--target orin-agx-64" in str(error.value), "how to build them again"


def test_graphs_alone_are_refused(built: Compiled) -> None:
    with pytest.raises(BackendError, match="for backend onnxruntime, not for tensorrt"):
        check_loadable(built(), "tensorrt", VERSION, "8.7")


def test_a_damaged_engine_is_found_before_it_is_loaded(compiled: Compiled, tmp_path: Path) -> None:
    bundle = Bundle.open(shutil.copytree(compiled().root, tmp_path / "compiled"))
    path = bundle.root / "engines" / "orin-agx-64" / "vision.engine"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(HashMismatch, match=r"vision\.engine"):
        check_loadable(bundle, "tensorrt", VERSION, "8.7")
