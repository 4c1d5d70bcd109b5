"""Without cuda-bindings, one line says what is missing and how to get it."""

from __future__ import annotations

import pytest

from clasp_trt.errors import BackendError
from clasp_trt.plugins import driver
from tests.house import modules
from tests.test_imports import first_loaded_by, importing


@pytest.mark.parametrize(("error", "reason"), [(ModuleNotFoundError("no"), ""), (OSError("bad ELF"), r" \(bad ELF\)")])
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str) -> None:
    def missing(name: str) -> None:
        assert name == "cuda.bindings.driver"
        raise error

    monkeypatch.setattr(driver, "import_module", missing)
    with pytest.raises(BackendError, match=rf"cuda\.bindings\.driver,.*imported{reason}; pip install cuda-bindings"):
        driver.load_driver()


def test_importing_the_plugins_loads_neither_cuda_nor_tensorrt() -> None:
    watched = frozenset({"cuda", "tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"})
    assert first_loaded_by(importing(modules(below="clasp_trt.plugins")), watched) == {}
