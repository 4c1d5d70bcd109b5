"""Bundles of null engines, and pipelines that run them on a null device."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from clasp_trt import bundle as bundles
from clasp_trt.bundle import Bundle, Engine, Engines, Manifest
from clasp_trt.engines.tensorrt.profiles import longest_prompt, profiles
from clasp_trt.runtime.backends.cuda.backend import KV_BLOCK, CudaBackend, connect
from clasp_trt.runtime.backends.cuda.library import Library
from clasp_trt.runtime.pipeline import Pipeline
from tests.runtime.backends.cuda.null_driver import NullCuda
from tests.runtime.backends.cuda.null_tensorrt import NullTensorRT, engine_bytes

VERSION = "10.3.0"
TARGETS = {"tensorrt": ("orin-agx-64", "8.7"), "tensorrt-rtx": ("rtx4090", "8.9")}


@dataclass
class Rig:
    """A pipeline on a null device, with all that a test wants to look at."""

    cuda: NullCuda
    trt: NullTensorRT
    backend: CudaBackend
    pipeline: Pipeline


def compile_null(portable: Bundle, out: Path, backend: str, max_prompt: int | None, slots: int = 1) -> Bundle:
    """A bundle of ``backend`` whose engines are null ones, with the profiles of real ones."""
    target, sm = TARGETS[backend]
    manifest = replace(portable.manifest, slots=slots)
    most = longest_prompt(max_prompt, manifest.max_context, manifest.schedule.tokens)
    engines = []
    with bundles.write(out) as writer:
        for name in manifest.files:
            (writer.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(portable.path(name), writer.root / name)
        (writer.root / "engines" / target).mkdir(parents=True)
        for graph in manifest.graphs:
            path = f"engines/{target}/{graph.name}.engine"
            (writer.root / path).write_bytes(engine_bytes(graph.name))
            engines.append(Engine(graph.name, path, profiles(manifest, graph, most)))
        found = Engines(VERSION, (sm,), most, tuple(engines))
        made: Manifest = replace(manifest, backend=backend, target=target, engines=found)
        return writer.commit(made, lambda done, total: None)


@pytest.fixture(scope="session")
def compiled(built: Callable[..., Bundle], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    """``compiled(backend, max_prompt, slots, **options)`` is the tiny checkpoint as a bundle of null engines."""
    made: dict[str, Bundle] = {}

    def make(backend: str = "tensorrt", *, max_prompt: int | None = None, slots: int = 1, **options: object) -> Bundle:
        key = repr((backend, max_prompt, slots, sorted(options.items())))
        if key not in made:
            portable = built(target=None, **options)
            out = tmp_path_factory.mktemp("compiled") / "bundle"
            made[key] = compile_null(portable, out, backend, max_prompt, slots)
        return made[key]

    return make


@pytest.fixture
def rig(compiled: Callable[..., Bundle]) -> Iterator[Callable[..., Rig]]:
    """``rig(...)`` is a pipeline on a null device of its own; what it leaves there fails the test."""
    made: list[Rig] = []

    def make(
        bundle: Bundle | None = None,
        *,
        timed: bool = False,
        trace: Path | None = None,
        kv_block: int = KV_BLOCK,
        memory: int = 1 << 33,
        aliasing: bool = True,
        capturable: bool = True,
        computes: Bundle | None = None,
        keeps: bool = False,
    ) -> Rig:
        bundle = bundle or compiled()
        backend = bundle.manifest.backend
        cuda = NullCuda(sm=TARGETS[backend][1], memory=memory)
        rtx = backend == "tensorrt-rtx"
        trt = NullTensorRT(cuda, bundle, VERSION, aliasing=aliasing, rtx=rtx, capturable=capturable, computes=computes)
        opened = connect(bundle, Library(backend, trt), cuda, timed=timed, trace=trace, kv_block=kv_block)
        pipeline = Pipeline(bundle, opened, image_cache_bytes=1 << 24 if keeps else 0, reuse_prompts=keeps)
        made.append(Rig(cuda, trt, opened, pipeline))
        return made[-1]

    yield make
    for each in made:
        each.pipeline.close()
        assert each.cuda.left() == []
        gc.collect()
        assert list(each.trt.alive) == []
