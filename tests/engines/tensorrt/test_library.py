"""Which module a backend means, what it reads, and what to do where it is missing."""

from __future__ import annotations

import platform
import sys
from types import SimpleNamespace

import pytest

from clasp_trt.engines.tensorrt.library import MODULES, Library, load
from clasp_trt.errors import BackendError


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


@pytest.mark.parametrize(("backend", "name"), [(backend, name) for backend in MODULES for name in MODULES[backend]])
def test_each_name_of_the_module_will_do(monkeypatch: pytest.MonkeyPatch, backend: str, name: str) -> None:
    for other in MODULES[backend]:
        monkeypatch.setitem(sys.modules, other, None)
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(__version__="9.8.7"))
    assert load(backend).version == "9.8.7"


@pytest.mark.parametrize(
    ("backend", "machine", "remedy"),
    [
        ("tensorrt-rtx", "x86_64", r"; pip install 'clasp-trt\[tensorrt-rtx\]'$"),
        ("tensorrt-rtx", "aarch64", "no package for Linux aarch64: build on Linux x86_64"),
        ("tensorrt", "x86_64", r"; pip install 'clasp-trt\[tensorrt\]'$"),
        ("tensorrt", "aarch64", "JetPack brings it: .* --system-site-packages$"),
    ],
)
def test_a_missing_module_says_what_to_install_here(
    monkeypatch: pytest.MonkeyPatch, backend: str, machine: str, remedy: str
) -> None:
    for name in MODULES[backend]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(BackendError, match=remedy) as error:
        load(backend)
    assert str(error.value).startswith(f"backend {backend} needs {MODULES[backend][-1]}, which cannot be imported")


def test_a_module_that_breaks_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise OSError("libnvinfer.so.10: cannot open shared object file")

    monkeypatch.setattr("clasp_trt.engines.tensorrt.library.import_module", broken)
    with pytest.raises(BackendError, match=r"cannot be imported \(libnvinfer\.so\.10: cannot open"):
        load("tensorrt")
