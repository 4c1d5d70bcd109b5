"""Every graph of a staged bundle becomes an engine beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import copyfile

import onnx

from clasp_trt.bundle import Engine, Engines, Graph, Manifest
from clasp_trt.engines.lowering import lower_file
from clasp_trt.engines.tensorrt import cache, limits, memory
from clasp_trt.engines.tensorrt.builder import Build, Job, Recipe
from clasp_trt.engines.tensorrt.library import TURING
from clasp_trt.engines.tensorrt.plugin_nodes import bind_plugins
from clasp_trt.engines.tensorrt.process import build_apart
from clasp_trt.engines.tensorrt.profiles import profiles
from clasp_trt.plugins.program import OPERATORS
from clasp_trt.progress import Progress

FOLDER = "engines"


@dataclass(frozen=True)
class Compiled:
    """The engines of a bundle, and the names of the graphs whose engines had been built before."""

    engines: Engines
    reused: tuple[str, ...]


def compile_graphs(
    root: Path,
    manifest: Manifest,
    target: str,
    recipe: Recipe,
    *,
    max_prompt: int,
    use_cache: bool,
    memory_limit: int | None,
    progress: Progress,
    build: Build = build_apart,
) -> Compiled:
    """Builds ``engines/TARGET/GRAPH.engine`` in ``root`` for each graph of ``manifest``, one at a time.

    The graphs stay as they are. ``memory_limit`` (bytes) bounds the estimate of what a build takes (None: what is
    available). Raises :class:`BackendError` for what cannot be built: for all that can be told from the graphs alone,
    before the first is built.
    """
    sizes = {graph.name: _weights(root / graph.path) for graph in manifest.graphs}
    largest = max(manifest.graphs, key=lambda graph: sizes[graph.name])
    memory.check(largest, sizes[largest.name], memory_limit)
    folder = root / FOLDER / target
    folder.mkdir(parents=True)
    staged = [_stage(root / graph.path, graph, recipe) for graph in manifest.graphs]
    engines, reused, done, total = list[Engine](), list[str](), 0, sum(sizes.values())
    for graph, (model, plugins) in zip(manifest.graphs, staged, strict=True):
        path, size = folder / f"{graph.name}.engine", sizes[graph.name]
        wanted = profiles(manifest, graph, max_prompt)
        job = Job(graph, model, wanted, size, path, plugins)
        if _make(recipe, job, build, use_cache, partial(_part_of, progress, done, size, total)):
            reused.append(graph.name)
        model.unlink()
        done += size
        engines.append(Engine(graph.name, path.relative_to(root).as_posix(), wanted, plugins))
    return Compiled(Engines(recipe.library.version, recipe.sms, max_prompt, tuple(engines)), tuple(reused))


def _part_of(progress: Progress, before: int, size: int, total: int, phase: str, part: float) -> bool:
    """Tells ``progress`` of a ``part`` (0 to 1) of a graph with ``size`` bytes, ``before`` of which are done."""
    progress(phase, before + int(part * size), total)
    return True


def _make(recipe: Recipe, job: Job, build: Build, use_cache: bool, part: Callable[[str, float], bool]) -> bool:
    """Writes the engine of ``job``: from the cache, or built, and then kept there. Whether it was in the cache."""
    key = cache.key(recipe, job.model, job.profiles) if use_cache else None
    if key is not None and cache.fetch(key, job.output):
        part(f"reuse {job.graph.name}", 1)
        return True
    phase = f"compile {job.graph.name}"
    part(phase, 0)
    build(recipe, job, partial(part, phase))
    part(phase, 1)
    if key is not None:
        cache.keep(key, job.output)
    return False


def _stage(source: Path, graph: Graph, recipe: Recipe) -> tuple[Path, tuple[str, ...]]:
    """The form of the graph that the parser gets, in a file beside it, since both share their weights; and its plugins.

    Without functions: a call that names a plugin would make the parser look for it, and it need not be here.
    """
    staged, assemble = source.with_suffix(".staged.onnx"), recipe.assemble
    copyfile(source, staged)
    lower_file(
        staged, recipe.library.opset,
        decompose_float32=TURING in recipe.sms, inline=True, keep=() if assemble is None else OPERATORS,
    )  # fmt: skip
    plugins = () if assemble is None else bind_plugins(staged, assemble)
    limits.check(onnx.load(staged, load_external_data=False), graph.name)
    return staged, plugins


def _weights(path: Path) -> int:
    """Bytes of the graph's weights."""
    model = onnx.load(path, load_external_data=False)
    entries = (entry for tensor in model.graph.initializer for entry in tensor.external_data)
    return sum(int(entry.value) for entry in entries if entry.key == "length")
