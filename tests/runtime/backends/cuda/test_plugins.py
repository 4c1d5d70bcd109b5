"""Engines with plugins: their creators are known to TensorRT before an engine is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.operators import PIVOT_SELECT
from clasp_trt.runtime.backends.cuda.backend import connect
from clasp_trt.runtime.backends.cuda.library import Library
from tests.runtime.backends.cuda.conftest import VERSION
from tests.runtime.backends.cuda.null_driver import NullCuda
from tests.runtime.backends.cuda.null_tensorrt import NullTensorRT


@pytest.mark.parametrize("plugins", [(), (PIVOT_SELECT.name,)])
def test_plugins_are_registered_when_a_bundle_has_them(
    compiled: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch, plugins: tuple[str, ...]
) -> None:
    bundle = compiled()
    engines = bundle.manifest.engines
    assert engines is not None
    first = replace(engines.engines[0], plugins=plugins)
    with_plugins = replace(engines, engines=(first, *engines.engines[1:]))
    bundle = Bundle(bundle.root, replace(bundle.manifest, engines=with_plugins))
    registered: list[object] = []
    monkeypatch.setattr("clasp_trt.runtime.backends.cuda.backend.register", registered.append)
    cuda = NullCuda(sm="8.7", memory=1 << 33)
    trt = NullTensorRT(cuda, bundle, VERSION)
    backend = connect(bundle, Library("tensorrt", trt), cuda)
    backend.close()
    assert registered == ([trt] if plugins else [])
