"""``build``: a checkpoint, or a portable bundle, becomes a bundle for one target.

Beside the command line this is the one module that sees the exporter and the engines; it only calls them in turn.
What is cheap to refuse is refused first: options, target, policy file and destination before the checkpoint is read,
the checkpoint before anything is exported.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import clasp_trt
from clasp_trt import bundle as bundles
from clasp_trt import targets
from clasp_trt.bundle import MANIFEST, POLICY, PORTABLE, Bundle, Manifest
from clasp_trt.errors import (
    BackendError,
    BundleError,
    OutputError,
    PolicyError,
)
from clasp_trt.extras import needing
from clasp_trt.methods import METHODS
from clasp_trt.options import DEFAULT_CONTEXT, DEFAULT_PRECISION, EngineOptions, Options, Pruning, slot_count
from clasp_trt.policy import Policy, prior
from clasp_trt.progress import Progress, silent
from clasp_trt.storage.apart import keep_apart
from clasp_trt.tensors import FLOATS
from clasp_trt.tools.build.calibration import Decoder, Made, by_magnitude, questions_of
from clasp_trt.tools.build.companions import check_assets, check_router, copy_router
from clasp_trt.tools.build.engine import (
    Engine,
    admit,
    check_plugins,
    check_rounding,
    compiled,
    engine_for,
    for_context,
    is_for_turing,
    skipping,
    takes_fp8,
    versions_of,
)

if TYPE_CHECKING:
    from clasp_trt.bundle import Graph
    from clasp_trt.bundle.writer import Writer
    from clasp_trt.export.family import Family
    from clasp_trt.tools.evaluate.questions import Questions

__all__ = [
    "DEFAULT_CONTEXT",
    "DEFAULT_PRECISION",
    "FLOAT_BYTES",
    "Built",
    "EngineOptions",
    "Options",
    "Pruning",
    "build",
    "compile_bundle",
]

FLOAT_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}

_COPY_BYTES = 2**20


@dataclass(frozen=True)
class Built:
    """A bundle that was made; ``reused`` are the graphs, by name, whose engines had been built before."""

    bundle: Bundle
    reused: tuple[str, ...] = ()


def build(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    target: str | None = "cpu",
    backend: str | None = None,
    budget: int | str | Fraction | None = None,
    schedule: Sequence[int] | None = None,
    prune_layers: Sequence[int] | None = None,
    prune_at: str | None = None,
    method: str | None = None,
    precision: str | None = None,
    policy: str | os.PathLike[str] | None = None,
    max_context: int | None = None,
    vision_layers: Sequence[int] | None = None,
    router: str | os.PathLike[str] | None = None,
    max_visual_tokens: int | None = None,
    max_images: int | None = None,
    max_frames: int | None = None,
    quantize: str | None = None,
    sparsity: str | None = None,
    prune_tower: str | None = None,
    calibration: str | os.PathLike[str] | None = None,
    calibration_rows: int | None = None,
    slots: int | None = None,
    revision: str | None = None,
    sm: Sequence[str] = (),
    max_prompt: int | None = None,
    max_build_memory: float | None = None,
    cache: bool = True,
    plugins: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> Bundle:
    """Compiles ``model``, a Hugging Face folder, hub id or portable bundle, into the bundle ``output`` for ``target``.

    The options of ``clasp-trt build``, by the same names; a ``target`` of None stops at the portable graphs, as
    ``clasp-trt export`` does. See :func:`compile_bundle`, which takes them as one value.
    """
    options = Options.of(
        budget=budget, schedule=schedule, prune_layers=prune_layers, prune_at=prune_at, method=method,
        precision=precision, policy=policy, max_context=max_context, vision_layers=vision_layers, router=router,
        max_visual_tokens=max_visual_tokens, max_images=max_images, max_frames=max_frames, quantize=quantize,
        sparsity=sparsity,
        prune_tower=prune_tower,
        calibration=calibration, calibration_rows=calibration_rows,
    )  # fmt: skip
    sms = (sm,) if isinstance(sm, str) else tuple(sm)  # a string is a sequence too, of its characters
    engines = EngineOptions(
        sms=sms, max_prompt=max_prompt, max_build_memory=max_build_memory, cache=cache, plugins=plugins
    )
    return compile_bundle(
        model, output, options, target=target, backend=backend, engines=engines, slots=slots, revision=revision,
        force=force, progress=progress,
    ).bundle  # fmt: skip


def compile_bundle(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    options: Options,
    *,
    target: str | None,
    backend: str | None = None,
    engines: EngineOptions | None = None,
    slots: int | None = None,
    revision: str | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Built:
    """Compiles ``model`` into the bundle ``output``, whole or not at all.

    A ``target`` of None makes a portable bundle; given as ``model`` later, it is completed for a target without torch
    or the checkpoint. A bundle fixes ``options`` already, so none may be given with one, not even what it has.
    ``backend`` defaults to the target's; ``engines`` is for those that compile, and its memory also for a portable
    bundle, which fixes where the decoder is cut. ``slots`` is how many requests are answered together (default: 1),
    of which a portable bundle knows nothing. ``revision`` is the branch, tag or commit of a hub id. ``force``
    replaces an older bundle at ``output``, though never one that is read here. Raises a
    :class:`clasp_trt.errors.ClaspError`, and then leaves everything as it was.
    """
    is_bundle = os.path.isfile(Path(model) / MANIFEST)
    engine, asked = None, engines or EngineOptions()
    if target is not None:
        engine = engine_for(target, backend, options.floats, asked, os.fspath(model), is_bundle, progress)
        engine = replace(engine, slots=slot_count(slots))
    elif slots is not None:
        raise BackendError(f"--slots {slots} is for a target, of which a portable bundle knows nothing; drop it")
    elif replace(asked, max_build_memory=None) != EngineOptions():
        raise BackendError("a portable bundle has no engines: of their options it takes --max-build-memory alone")
    if not os.fspath(output):
        raise OutputError("the output has an empty name; name a folder to make")
    keep_apart(output, model, options.policy, options.router, options.calibration)
    if is_bundle:
        if revision is not None:
            raise BundleError(f"--revision {revision} is for a hub id, but {os.fspath(model)} is a bundle; drop it")
        return _complete(Path(model), output, options, engine, force, progress)
    if engine is not None:
        check_rounding(engine, options.quantization)
    policy = None if options.policy is None else Policy.load(options.policy)
    questions = questions_of(options)
    if options.router is not None:
        check_router(options.router, policy)
    with bundles.write(output, force=force) as writer:
        manifest, engine = _export(
            os.fspath(model), revision, writer, options, policy, questions, asked.memory_bytes, engine, progress
        )
        return _finish(writer, manifest, engine, progress)


def _export(
    model: str,
    revision: str | None,
    writer: Writer,
    options: Options,
    policy: Policy | None,
    questions: Questions | None,
    memory_limit: int | None,
    engine: Engine | None,
    progress: Progress,
) -> tuple[Manifest, Engine | None]:
    """Writes the portable half of a bundle from the checkpoint ``model`` at ``revision``, its decoder rounded by
    ``questions`` if there are any, cut so that building its engines takes at most ``memory_limit`` bytes; ``engine`` is
    what will run it, if known, and comes back with its longest prompt."""
    from clasp_trt.runtime.routing.folder import shipped_for

    progress("open the checkpoint", 0, 1)
    with needing("exporting a checkpoint", "export"):
        import torch  # noqa: F401  said to be missing now, and not when a graph is made
        import transformers  # noqa: F401

        from clasp_trt.export.checkpoint import Checkpoint
        from clasp_trt.export.exporter import export
        from clasp_trt.export.family import family_of
        from clasp_trt.export.generation import generation

        checkpoint = Checkpoint.open(model, revision)
        family = family_of(
            checkpoint, options.most_tokens, options.images, options.max_frames, options.quantization,
            options.pruning.tower, takes_fp8(engine),
        )  # fmt: skip
        options.check_tokens(family.description.capped(None).picture_tokens, family.description.picture_tokens)
        integers = family.quantization
        chosen = generation(checkpoint, family.info.decoder.vocab_size)
    if engine is not None:
        check_rounding(engine, integers)
        targets.check_memory(engine.device, family.nbytes(FLOATS[options.floats]), options.floats)
    pruning, (_, _, tokens) = options.pruning, family.info.tokens
    dims = family.description.decoder
    schedule = pruning.schedule(
        tokens, dims.layers, varies=family.info.varies, short_sighted=dims.short_sighted(tokens),
        thinning=family.description.thinning,
    )  # fmt: skip
    if engine is not None:
        targets.check_selection(engine.backend, schedule)
        check_plugins(engine, schedule, family.info.varies, pruning.selection)
    policy = _prior(family, options) if policy is None else _fitting(policy, family, options)
    context = options.context(dims.max_positions, tokens)
    if engine is not None:
        engine = for_context(engine, context, tokens)
    media = family.media
    options.check_clips(media.video is not None)
    (writer.root / POLICY).write_text(policy.dumps(), encoding="utf-8")
    router = options.router or shipped_for([category.name for category in policy.categories])
    if router is not None:
        copy_router(router, writer.root)
    manifest = Manifest(
        model=family.info,
        media=media,
        precision=options.floats,
        prune_at=pruning.place,
        schedule=schedule,
        budget=pruning.mean(schedule.tokens, schedule.entering()),
        max_context=context,
        opset=targets.PORTABLE_OPSET,
        graphs=(),
        segments=(),
        backend=PORTABLE,
        target=PORTABLE,
        versions={
            "clasp-trt": clasp_trt.__version__,
            "python": platform.python_version(),
            **versions_of("torch", "transformers", "onnx", "onnx-ir"),
        },
        generation=chosen,
        quantization=integers,
        method=pruning.selection,
    )
    dtype, sparsity, made, decoder = FLOATS[options.floats], options.sparse, Made(), None
    if questions is not None:
        decoder = Decoder.of(family, questions, writer.root, dtype, sparsity)
    elif sparsity is not None:
        made = Made(sparse=by_magnitude(family, sparsity))

    def ready(graphs: tuple[Graph, ...]) -> None:
        nonlocal made
        check_assets(writer.root, media, model)
        if decoder is not None:
            made = decoder.calibrate(writer.draft(replace(manifest, graphs=graphs)), progress)

    exported = export(
        checkpoint, family, writer.root, layers=policy.layers, schedule=schedule, max_context=context,
        precision=options.floats, method=pruning.selection, memory_limit=memory_limit,
        stages_apart=is_for_turing(engine), admit=partial(admit, engine), ready=ready,
        progress=lambda graph, done, total: progress(f"export {graph}", done, total),
    )  # fmt: skip
    if decoder is not None:
        decoder.clear()
    manifest = replace(manifest, graphs=exported.graphs, segments=exported.segments, **vars(made))
    return manifest, engine


def _complete(
    model: Path,
    output: str | os.PathLike[str],
    options: Options,
    engine: Engine | None,
    force: bool,
    progress: Progress,
) -> Built:
    """Makes the bundle of a target from the portable bundle ``model``."""
    source = Bundle.open(model)
    if engine is None:
        raise BundleError(f"{source.root} is a bundle already; give a checkpoint to export")
    if replace(options, router=None) != Options():
        raise BundleError(
            f"{source.root} is a bundle, which fixes pruning, precision, rounding, policy, context and pictures "
            "already; give its checkpoint to change them"
        )
    if options.router is not None:
        check_router(options.router, source.policy)
    manifest = source.manifest
    if manifest.backend != PORTABLE:
        raise BundleError(
            f"{source.root} is already built for {manifest.target}; "
            "give the portable bundle that `clasp-trt export` wrote, or the checkpoint"
        )
    targets.check(engine.device, engine.backend, manifest.precision)
    targets.check_selection(engine.backend, manifest.schedule)
    check_rounding(engine, manifest.quantization)
    if engine.recipe is not None:
        from clasp_trt.engines.tensorrt import place

        place.check_precision(engine.recipe.sms, manifest.precision)
        engine = for_context(engine, manifest.max_context, manifest.schedule.tokens)
    check_plugins(engine, manifest.schedule, manifest.model.varies, manifest.method)
    # besides the weights these files are small
    targets.check_memory(engine.device, sum(file.bytes for file in manifest.files.values()), manifest.precision)
    for graph in manifest.graphs:
        weights = manifest.files.get(f"{graph.path}.data")
        admit(engine, graph, 0 if weights is None else weights.bytes)
    with bundles.write(output, force=force) as writer:
        # what was damaged on its way here must not get hashes that call it sound
        source.verify(lambda done, total: progress("check the portable bundle", done, total))
        for name in manifest.files:
            destination = writer.root / name
            destination.parent.mkdir(parents=True, exist_ok=True)
            with source.path(name).open("rb") as read, destination.open("wb") as written:
                shutil.copyfileobj(read, written, _COPY_BYTES)
        if options.router is not None:
            copy_router(options.router, writer.root)
        return _finish(writer, manifest, engine, progress)


def _finish(writer: Writer, manifest: Manifest, engine: Engine | None, progress: Progress) -> Built:
    """Adds the engines, and puts the bundle in its place."""
    reused: tuple[str, ...] = ()
    if engine is not None and engine.slots > 1:
        if not manifest.has_slots:
            raise BundleError(
                f"--slots {engine.slots}: an older clasp-trt made this portable bundle, whose graphs take one request "
                "at a time; export the checkpoint again"
            )
        manifest = replace(manifest, slots=engine.slots)
    if engine is not None:
        engine = skipping(engine, None if manifest.sparse is None else manifest.sparse.sparsity, manifest.quantization)
        manifest, reused = compiled(writer.root, manifest, engine, progress)
    return Built(writer.commit(manifest, lambda done, total: progress("verify", done, total)), reused)


def _prior(family: Family, options: Options) -> Policy:
    """The baseline, and a method that does not mix layers, read what the checkpoint was trained to read; CLASP may also
    look at shallower layers, and anything at layers that were asked for."""
    vision = family.info.vision
    layers = {vision.feature_layer}
    if options.vision_layers is not None:
        for layer in options.vision_layers:
            if not 0 <= layer <= vision.layers:
                raise PolicyError(
                    f"--vision-layers: there is no layer {layer}; the tower of this checkpoint has 0 to {vision.layers}"
                )
        layers |= set(options.vision_layers)
    elif options.pruning.place != "none" and METHODS[options.pruning.selection].fused:
        layers |= {layer for layer in (vision.layers // 8, vision.layers // 2) if 0 < layer < vision.feature_layer}
    return prior(sorted(layers), vision.feature_layer)


def _fitting(policy: Policy, family: Family, options: Options) -> Policy:
    deepest, layers = max(policy.layers), family.info.vision.layers
    if deepest > layers:
        raise PolicyError(
            f"{options.policy} reads vision layer {deepest}, but the tower of this checkpoint has layers 0 to {layers};"
            " give a policy that was calibrated for it"
        )
    return policy
