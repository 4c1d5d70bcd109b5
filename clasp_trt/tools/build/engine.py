"""What runs a bundle, and where: what it refuses, and how graphs are made for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING

from clasp_trt import targets
from clasp_trt.bundle import Manifest
from clasp_trt.chain import selections
from clasp_trt.errors import BackendError
from clasp_trt.extras import needing
from clasp_trt.notice import tell
from clasp_trt.options import EngineOptions
from clasp_trt.progress import Progress
from clasp_trt.quantization import DECODER, Quantization
from clasp_trt.schedule import Schedule
from clasp_trt.targets import COMPILED, Target

if TYPE_CHECKING:
    from clasp_trt.bundle import Graph
    from clasp_trt.engines.tensorrt.builder import Recipe
    from clasp_trt.sparsity import Sparsity


@dataclass(frozen=True)
class Engine:
    """What runs a bundle, and where; ``recipe`` is that of its engines, if the backend compiles, and ``max_prompt``
    the longest text of a prompt that they are for, once the context is known. ``slots`` requests are answered
    together."""

    backend: str
    device: Target
    options: EngineOptions
    recipe: Recipe | None = None
    max_prompt: int | None = None
    slots: int = 1


def engine_for(
    target: str,
    backend: str | None,
    precision: str,
    options: EngineOptions,
    model: str,
    is_bundle: bool,
    progress: Progress,
) -> Engine:
    """What can be told before ``model`` is opened: whether the target takes the backend, and whether it builds here.

    With plugins their kernels are compiled here as well, since they are the same for every model.
    """
    device = targets.get(target)
    engine = Engine(backend or device.backend, device, options)
    if not is_bundle:  # a bundle has a precision of its own
        targets.check(device, engine.backend, precision)
    if engine.backend not in COMPILED:
        if options != EngineOptions():
            raise BackendError(
                f"backend {engine.backend} builds no engines: drop --sm, --max-prompt, --max-build-memory, "
                f"--no-cache and --plugins, or add --backend {' or '.join(COMPILED)}"
            )
        return engine
    from clasp_trt.engines.tensorrt import place
    from clasp_trt.engines.tensorrt.builder import Recipe

    assert device.sm is not None, f"{device.name} takes a backend that compiles"
    sms = options.sms or (device.sm,)
    library = place.check(device, engine.backend, sms, model, is_bundle=is_bundle)
    if not is_bundle:
        place.check_precision(sms, precision)
    with needing("building engines", "build"):
        import_module("clasp_trt.engines.tensorrt.compile")  # what it needs besides the library
    assemble = None
    if options.plugins:
        from clasp_trt.engines.tensorrt.device import cuda_major
        from clasp_trt.engines.tensorrt.programs import assembler

        progress("compile the kernels", 0, 1)
        # a library that builds ahead does not say which driver will be there
        assemble = assembler(sms, None if library.ahead else cuda_major())
    return replace(engine, recipe=Recipe(library, sms, options.workspace_bytes, assemble))


def skipping(engine: Engine, sparsity: Sparsity | None, quantization: Quantization) -> Engine:
    """``engine`` whose products may skip the zeros of a decoder with this ``sparsity``, if they can; else a
    :class:`~clasp_trt.notice.Notice` says why these buy nothing."""
    if sparsity is None:
        return engine
    sms = () if engine.recipe is None else engine.recipe.sms
    why = targets.zeros_in_vain(engine.device, engine.backend, sms, sparsity, quantization.of(DECODER))
    if why is not None or engine.recipe is None:
        tell(f"--sparsity {sparsity.asked} buys nothing here: {why}")
        return engine
    return replace(engine, recipe=replace(engine.recipe, sparse=True))


def compiled(root: Path, manifest: Manifest, engine: Engine, progress: Progress) -> tuple[Manifest, tuple[str, ...]]:
    """The manifest of the bundle in ``root`` with its graphs made for ``engine``, and those whose engines had been
    built before."""
    if engine.recipe is not None:
        return _for_tensorrt(root, manifest, engine, engine.recipe, progress)
    return _for_onnxruntime(root, manifest, engine, progress), ()


def _for_onnxruntime(root: Path, manifest: Manifest, engine: Engine, progress: Progress) -> Manifest:
    with needing("building for ONNX Runtime", "build"):
        from clasp_trt.engines import onnxruntime as compiler

        opset = compiler.opset_for(engine.device)
        compiler.compile_graphs(
            root, manifest.graphs, opset, lambda graph, done, total: progress(f"compile {graph}", done, total),
            for_cpu=engine.device.sm is None,
        )  # fmt: skip
    return replace(
        manifest,
        opset=min(opset, manifest.opset),
        backend=engine.backend,
        target=engine.device.name,
        versions={**manifest.versions, **versions_of("onnxruntime")},
    )


def _for_tensorrt(
    root: Path, manifest: Manifest, engine: Engine, recipe: Recipe, progress: Progress
) -> tuple[Manifest, tuple[str, ...]]:
    """The manifest with engines, and the graphs whose engines had been built before."""
    from clasp_trt.engines.tensorrt.compile import compile_graphs
    from clasp_trt.engines.tensorrt.profiles import check_slots

    check_slots(manifest)
    assert engine.max_prompt is not None, "the context is known by now"
    compiled = compile_graphs(
        root, manifest, engine.device.name, recipe,
        max_prompt=engine.max_prompt, use_cache=engine.options.cache, memory_limit=engine.options.memory_bytes,
        progress=progress,
    )  # fmt: skip
    manifest = replace(
        manifest,
        backend=engine.backend,
        target=engine.device.name,
        versions={**manifest.versions, recipe.library.backend: recipe.library.version},
        engines=compiled.engines,
    )
    return manifest, compiled.reused


def is_for_turing(engine: Engine | None) -> bool:
    """Whether graphs must be of the form that TensorRT for RTX can build for SM 7.5."""
    from clasp_trt.engines.tensorrt.library import TURING

    return engine is not None and engine.recipe is not None and TURING in engine.recipe.sms


def admit(engine: Engine | None, graph: Graph, weights: int) -> None:
    """Raises :class:`BackendError` if the engine of ``graph`` cannot be built, or takes more memory than it may."""
    if engine is not None and engine.recipe is not None:
        from clasp_trt.engines.tensorrt import memory, place

        place.check_graph(engine.recipe.sms, graph)
        memory.check(graph, weights, engine.options.memory_bytes)


def for_context(engine: Engine, max_context: int, tokens: int) -> Engine:
    """``engine`` with the longest text of a prompt that it is for; :class:`ScheduleError` if that does not fit."""
    from clasp_trt.engines.tensorrt.profiles import longest_prompt

    return replace(engine, max_prompt=longest_prompt(engine.options.max_prompt, max_context, tokens))


def check_rounding(engine: Engine, quantization: Quantization) -> None:
    targets.check_integers(engine.backend, quantization)
    if engine.recipe is not None:
        from clasp_trt.engines.tensorrt import place

        place.check_quantization(engine.recipe.library, engine.recipe.sms, quantization)


def takes_fp8(engine: Engine | None) -> bool:
    """Whether weights that are FP8 in a checkpoint stay so; graphs for no target in particular have floats."""
    return engine is not None and engine.recipe is not None and targets.takes_fp8(engine.backend, engine.recipe.sms)


def check_plugins(engine: Engine, schedule: Schedule, varies: bool, method: str) -> None:
    if not engine.options.plugins:
        return
    from clasp_trt.plugins.launch import MAX_TOKENS

    if not schedule.stages:
        raise BackendError("--plugins is for what selects tokens, and nothing is pruned; drop it, or prune")
    if method != selections.DEFAULT:
        raise BackendError(f"--plugins are kernels of CLASP's selection, and --method is {method}; drop one of them")
    if schedule.entering() > MAX_TOKENS:
        fewer = ", or export for fewer: --max-visual-tokens, --max-images" if varies else ""
        raise BackendError(
            f"--plugins: the kernels choose from at most {MAX_TOKENS} visual tokens, and a request may have "
            f"{schedule.entering()}; drop it{fewer}"
        )


def versions_of(*packages: str) -> dict[str, str]:
    """The installed version of each of ``packages`` that is there."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
