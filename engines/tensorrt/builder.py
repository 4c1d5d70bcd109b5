"""One graph becomes one engine, in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clasp_trt.bundle import Graph, Profile
from clasp_trt.engines.tensorrt import memory
from clasp_trt.engines.tensorrt.callbacks import monitor
from clasp_trt.engines.tensorrt.capabilities import set_capabilities
from clasp_trt.engines.tensorrt.library import Library
from clasp_trt.engines.tensorrt.network import add_profile, parse
from clasp_trt.engines.tensorrt.plugin_nodes import Assemble
from clasp_trt.errors import BackendError
from clasp_trt.plugins import register
from clasp_trt.plugins.library import error_logger

_EXHAUSTED = ("out of memory", "outofmemory", "bad_alloc", "cannot allocate")


@dataclass(frozen=True)
class Recipe:
    """What decides an engine beside its graph.

    ``sms`` are compute capabilities, ``workspace`` the bytes of scratch that a kernel of the engine may use (None: the
    builder's own choice), ``assemble`` makes what plugins carry (None: no plugins), ``sparse`` lets products skip
    weights of which 2 of 4 are zero. What a build itself may take is no
    part of it: that changes no engine.
    """

    library: Library
    sms: tuple[str, ...]
    workspace: int | None = None
    assemble: Assemble | None = None
    sparse: bool = False


@dataclass(frozen=True)
class Job:
    """One engine to build: ``graph`` of the manifest, in the form that the parser gets at ``model``, with ``weights``
    bytes of weights, for ``profiles``, into the file ``output``. ``plugins`` names those that the model calls."""

    graph: Graph
    model: Path
    profiles: Sequence[Profile]
    weights: int
    output: Path
    plugins: tuple[str, ...] = ()


Build = Callable[[Recipe, Job, Callable[[float], bool]], None]
"""Builds one engine, and tells the part that is done, 0 to 1, while it does."""


def build_engine(recipe: Recipe, job: Job, go_on: Callable[[float], bool]) -> None:
    """Writes the serialised engine of ``job``. Raises :class:`BackendError` for what TensorRT refuses.

    ``go_on`` hears the part that is done from within TensorRT's callback, where it must not raise; False cancels.
    """
    library, errors = recipe.library, list[str]()
    trt = library.module
    log = error_logger(trt, errors)
    if job.plugins:
        register(trt)
    builder = trt.Builder(log)
    # the parser owns the weights until the engine is built
    network, _parser = parse(library, builder, log, job.model, job.graph.name, errors)
    config = builder.create_builder_config()
    config.progress_monitor = monitor(trt, go_on)
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default: float32 would be rounded to ten bits in products
    if recipe.sparse:
        config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    if recipe.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, recipe.workspace)
    if library.ahead:
        set_capabilities(trt, config, recipe.sms)
    for profile in job.profiles:
        add_profile(builder, config, network, job.graph, profile)
    serialised = builder.build_serialized_network(network, config)
    if serialised is None:
        raise BackendError(_refusal(library, job, errors))
    job.output.write_bytes(serialised)


def _refusal(library: Library, job: Job, errors: Sequence[str]) -> str:
    told = " ".join(errors).lower()
    if any(word in told for word in _EXHAUSTED):
        return memory.exhausted(job.graph, job.weights)
    reason = errors[0] if errors else "no reason given"
    return f"{library.backend} {library.version} cannot build the graph {job.graph.name}: {reason}"
