"""The builder as a Polygraphy loader makes the engines that ``build`` makes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("polygraphy")
pytest.importorskip("tensorrt_rtx_bindings")

from polygraphy import util

from clasp_trt.bundle import Bundle
from clasp_trt.engines.tensorrt.builder import Recipe
from clasp_trt.engines.tensorrt.library import load
from clasp_trt.errors import BundleError
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.profile.loaders import EngineBytes

RECIPE = Recipe(load("tensorrt-rtx"), ("8.9",))


@pytest.mark.trt
def test_the_engine_is_that_of_a_build(built: Callable[..., Bundle], tmp_path: Path) -> None:
    portable = built(target=None, prune_layers=(1,), schedule=(7,), budget=None)
    before = portable.root.stat().st_mtime_ns
    bundle = build(portable.root, tmp_path / "out", target="rtx4090", cache=False)
    assert bundle.manifest.engines is not None
    for name in ("gram", "segment_1"):  # without and with weights and profiles
        (engine,) = (each for each in bundle.manifest.engines.engines if each.graph == name)
        content, _ = util.invoke_if_callable(EngineBytes(portable, name, RECIPE))
        assert hashlib.sha256(content).hexdigest() == bundle.manifest.files[engine.path].sha256
    assert portable.root.stat().st_mtime_ns == before


def test_a_graph_that_is_not_there(built: Callable[..., Bundle]) -> None:
    with pytest.raises(BundleError, match="no 'grams'"):
        EngineBytes(built(target=None), "grams", RECIPE)()
