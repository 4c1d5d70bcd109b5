"""Which module of TensorRT a backend means, what to do where it is missing, and what it logs."""

from __future__ import annotations

import platform
import sys
from types import SimpleNamespace

import pytest

from clasp_trt import targets
from clasp_trt.errors import BackendError
from clasp_trt.plugins.library import MODULES, error_logger, load_library
from tests.engines.tensorrt import fake


def test_every_backend_of_engines_has_a_module() -> None:
    assert set(MODULES) == set(targets.COMPILED)


@pytest.mark.parametrize(("backend", "name"), [(backend, name) for backend in MODULES for name in MODULES[backend]])
def test_each_name_of_the_module_will_do(monkeypatch: pytest.MonkeyPatch, backend: str, name: str) -> None:
    for other in MODULES[backend]:
        monkeypatch.setitem(sys.modules, other, None)
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(__version__="9.8.7"))
    assert load_library(backend).__version__ == "9.8.7"


@pytest.mark.parametrize(
    ("backend", "machine", "remedy"),
    [
        ("tensorrt-rtx", "x86_64", r"; pip install 'clasp-trt\[tensorrt-rtx\]'$"),
        ("tensorrt-rtx", "aarch64", "no package for Linux aarch64: .* on Linux x86_64"),
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
        load_library(backend)
    assert str(error.value).startswith(f"backend {backend} needs {MODULES[backend][-1]}, which cannot be imported")


def test_a_module_that_breaks_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise OSError("libnvinfer.so.10: cannot open shared object file")

    monkeypatch.setattr("clasp_trt.plugins.library.import_module", broken)
    with pytest.raises(BackendError, match=r"\(libnvinfer\.so\.10: cannot open"):
        load_library("tensorrt")


def test_the_logger_keeps_errors_alone_in_one_line() -> None:
    trt, errors = fake.module(fake.Record()), list[str]()
    log = error_logger(trt, errors)
    log.log(trt.ILogger.WARNING, "harmless")
    log.log(trt.ILogger.ERROR, "bad\n  news")
    log.log(trt.ILogger.INTERNAL_ERROR, "worse")
    assert errors == ["bad news", "worse"]
