"""``build``: a checkpoint, or a portable bundle, becomes a bundle for one target.

Beside the command line this is the one module that sees the exporter and the engines; it only calls them in turn.
What is cheap to refuse is refused first: options, target, policy file and destination before the checkpoint is read,
the checkpoint before anything is exported.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import clasp_trt
from clasp_trt import bundle as bundles
from clasp_trt import schedule as schedules
from clasp_trt import targets
from clasp_trt.bundle import MANIFEST, POLICY, PORTABLE, PRECISIONS, PRUNE_AT, Bundle, Manifest
from clasp_trt.errors import (
    BackendError,
    BundleError,
    CheckpointError,
    ClaspError,
    OutputError,
    PolicyError,
    ScheduleError,
    TargetError,
)
from clasp_trt.policy import Policy, prior
from clasp_trt.schedule import Schedule
from clasp_trt.targets import Target

if TYPE_CHECKING:
    from clasp_trt.bundle import ModelInfo
    from clasp_trt.bundle.writer import Writer
    from clasp_trt.export.checkpoint import Checkpoint
    from clasp_trt.export.family import Family

DEFAULT_PRUNE_AT, DEFAULT_PRECISION, DEFAULT_CONTEXT = "decoder", "fp32", 2048
FLOAT_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}

_COPY_BYTES = 2**20
_ENDLESS = 2**31 - 1  # tokens and layers of a model that every legal schedule fits

Progress = Callable[[str, int, int], None]
"""Called with a phase, units done and units in all."""


def _silent(phase: str, done: int, total: int) -> None: ...


@dataclass(frozen=True)
class Pruning:
    """How a build prunes. What is None was not asked for.

    ``at`` is one of :data:`clasp_trt.bundle.PRUNE_AT` (default: decoder). ``budget`` is the mean number of visual
    tokens over decoder layers (default: a third of them); ``keeps`` gives the stages' sizes instead. ``prune_layers``
    are the 0-based decoder layers after which the stages stand. Raises :class:`ScheduleError` for what contradicts
    itself, whatever the model.
    """

    at: str | None = None
    budget: int | None = None
    keeps: tuple[int, ...] | None = None
    prune_layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.place not in PRUNE_AT:
            raise ScheduleError(f"--prune-at is {self.at!r}, expected one of {', '.join(PRUNE_AT)}")
        if self.budget is not None and self.keeps is not None:
            raise ScheduleError("--budget and --schedule exclude each other; give the mean or the stages, not both")
        if self.place == "none" and (self.budget, self.keeps, self.prune_layers) != (None, None, None):
            raise ScheduleError(
                "--prune-at none keeps every token; drop --budget, --schedule and --prune-layers, "
                "or choose decoder or encoder"
            )
        if self.place == "encoder" and (self.keeps, self.prune_layers) != (None, None):
            raise ScheduleError(
                "--prune-at encoder has one stage, before the decoder; "
                "give its size with --budget, without --schedule and --prune-layers"
            )
        if self.keeps is not None:  # what no model could follow is refused before one is opened
            schedules.given(_ENDLESS, _ENDLESS, self.keeps, range(len(self.keeps)))

    @property
    def place(self) -> str:
        """``at``, or its default."""
        return DEFAULT_PRUNE_AT if self.at is None else self.at

    def mean(self, tokens: int) -> int | None:
        """The mean to aim at with ``tokens`` visual tokens; None where none is asked for."""
        if self.place == "none" or self.keeps is not None:
            return None
        return max(1, tokens // 3) if self.budget is None else self.budget

    def schedule(self, tokens: int, layers: int) -> Schedule:
        """The stages for a decoder of ``layers`` layers. Raises :class:`ScheduleError` if it cannot have them."""
        mean = self.mean(tokens)
        if self.keeps is not None:
            return schedules.given(tokens, layers, self.keeps, self.prune_layers)
        if mean is None:
            return schedules.none(tokens, layers)
        if self.place == "encoder":
            return schedules.encoder(tokens, layers, mean)
        try:
            return schedules.solve(tokens, layers, mean, self.prune_layers)
        except ScheduleError as error:
            if self.budget is not None:
                raise
            raise ScheduleError(f"no --budget was given, so a third of the tokens is meant; {error}") from None


@dataclass(frozen=True)
class Options:
    """What to make of a checkpoint: all that a bundle fixes for good. What is None was not asked for.

    ``precision`` is one of :data:`clasp_trt.bundle.PRECISIONS` (default: fp32), ``policy`` a policy file (default: an
    uncalibrated prior), ``max_context`` the longest sequence of prompt, visual tokens and answer (default: 2048, or
    what the checkpoint knows if that is less). ``vision_layers`` are the layers that the prior is made over, as hidden
    states, for a calibration to choose from (default: three depths, or one without pruning); the layer that the
    checkpoint reads by itself is always among them.
    """

    pruning: Pruning = Pruning()
    precision: str | None = None
    policy: str | os.PathLike[str] | None = None
    max_context: int | None = None
    vision_layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.floats not in PRECISIONS:
            raise TargetError(f"unknown precision {self.precision!r}: choose one of {', '.join(PRECISIONS)}")
        if self.policy is not None and self.vision_layers is not None:
            raise PolicyError(
                "--policy and --vision-layers exclude each other: a policy names the layers that it reads"
            )

    @property
    def floats(self) -> str:
        """``precision``, or its default."""
        return DEFAULT_PRECISION if self.precision is None else self.precision


@dataclass(frozen=True)
class _Engine:
    """What runs a bundle, and where."""

    backend: str
    device: Target


def build(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    target: str | None = "cpu",
    backend: str | None = None,
    budget: int | None = None,
    schedule: Sequence[int] | None = None,
    prune_layers: Sequence[int] | None = None,
    prune_at: str | None = None,
    precision: str | None = None,
    policy: str | os.PathLike[str] | None = None,
    max_context: int | None = None,
    vision_layers: Sequence[int] | None = None,
    force: bool = False,
    progress: Progress = _silent,
) -> Bundle:
    """Compiles ``model``, a Hugging Face folder, hub id or portable bundle, into the bundle ``output`` for ``target``.

    The options of ``clasp-trt build``, by the same names; a ``target`` of None stops at the portable graphs, as
    ``clasp-trt export`` does. See :func:`compile_bundle`, which takes them as one value.
    """
    stages = None if schedule is None else tuple(schedule)
    layers = None if prune_layers is None else tuple(prune_layers)
    read = None if vision_layers is None else tuple(vision_layers)
    options = Options(Pruning(prune_at, budget, stages, layers), precision, policy, max_context, read)
    return compile_bundle(model, output, options, target=target, backend=backend, force=force, progress=progress)


def compile_bundle(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    options: Options,
    *,
    target: str | None,
    backend: str | None = None,
    force: bool = False,
    progress: Progress = _silent,
) -> Bundle:
    """Compiles ``model`` into the bundle ``output``, whole or not at all.

    A ``target`` of None makes a portable bundle; given as ``model`` later, it is completed for a target without torch
    or the checkpoint. A bundle fixes ``options`` already, so none may be given with one, not even what it has.
    ``backend`` defaults to the target's; ``force`` replaces an older bundle at ``output``. Raises a
    :class:`clasp_trt.errors.ClaspError`, and then leaves everything as it was.
    """
    engine = None if target is None else _engine(target, backend, options.floats)
    if not os.fspath(output):
        raise OutputError("the output has an empty name; name a folder to make")
    if os.path.isfile(Path(model) / MANIFEST):
        return _complete(Path(model), output, options, engine, force, progress)
    policy = None if options.policy is None else Policy.load(options.policy)
    with bundles.write(output, force=force) as writer:
        manifest = _export(os.fspath(model), writer, options, policy, engine, progress)
        return _finish(writer, manifest, engine, progress)


def _engine(target: str, backend: str | None, precision: str) -> _Engine:
    device = targets.get(target)
    engine = _Engine(backend or device.backend, device)
    targets.check(device, engine.backend, precision)
    if engine.backend != "onnxruntime":
        raise BackendError(
            f"backend {engine.backend} cannot be built by this version; add --backend onnxruntime to run on "
            f"{device.name} with ONNX Runtime, or keep the portable graphs of `clasp-trt export`"
        )
    return engine


def _export(
    model: str, writer: Writer, options: Options, policy: Policy | None, engine: _Engine | None, progress: Progress
) -> Manifest:
    """Writes the portable half of a bundle from the checkpoint ``model``; ``engine`` is what will run it, if known."""
    progress("open the checkpoint", 0, 1)
    with _needing("exporting a checkpoint", "pip install 'clasp-trt[export]'"):
        from clasp_trt.export.checkpoint import Checkpoint
        from clasp_trt.export.exporter import export
        from clasp_trt.export.family import family_of

        checkpoint = Checkpoint.open(model)
        family = family_of(checkpoint)
    if engine is not None:
        targets.check_memory(engine.device, _weights(checkpoint) * FLOAT_BYTES[options.floats], options.floats)
    vision, decoder, pruning = family.info.vision, family.info.decoder, options.pruning
    schedule = pruning.schedule(vision.tokens, decoder.layers)
    policy = _prior(family, options) if policy is None else _fitting(policy, family, options)
    context = min(DEFAULT_CONTEXT, family.max_positions) if options.max_context is None else options.max_context
    exported = export(
        checkpoint, family, writer.root, layers=policy.layers, schedule=schedule, max_context=context,
        precision=options.floats, progress=lambda graph, done, total: progress(f"export {graph}", done, total),
    )  # fmt: skip
    (writer.root / POLICY).write_text(policy.dumps(), encoding="utf-8")
    _check_assets(writer.root, family.info, model)
    return Manifest(
        model=family.info,
        precision=options.floats,
        prune_at=pruning.place,
        schedule=schedule,
        budget=pruning.mean(schedule.tokens),
        max_context=context,
        opset=targets.PORTABLE_OPSET,
        graphs=exported.graphs,
        segments=exported.segments,
        backend=PORTABLE,
        target=PORTABLE,
        versions={
            "clasp-trt": clasp_trt.__version__,
            "python": platform.python_version(),
            **_versions("torch", "transformers", "onnx", "onnx-ir"),
        },
    )


def _complete(
    model: Path,
    output: str | os.PathLike[str],
    options: Options,
    engine: _Engine | None,
    force: bool,
    progress: Progress,
) -> Bundle:
    """Makes the bundle of a target from the portable bundle ``model``."""
    source = Bundle.open(model)
    if engine is None:
        raise BundleError(f"{source.root} is a bundle already; give a checkpoint to export")
    if options != Options():
        raise BundleError(
            f"{source.root} is a bundle, which fixes pruning, precision, policy and context already; "
            "give its checkpoint to change them"
        )
    manifest = source.manifest
    if manifest.backend != PORTABLE:
        raise BundleError(
            f"{source.root} is already built for {manifest.target}; "
            "give the portable bundle that `clasp-trt export` wrote, or the checkpoint"
        )
    targets.check(engine.device, engine.backend, manifest.precision)
    # besides the weights these files are small
    targets.check_memory(engine.device, sum(file.bytes for file in manifest.files.values()), manifest.precision)
    with bundles.write(output, force=force) as writer:
        # what was damaged on its way here must not get hashes that call it sound
        source.verify(lambda done, total: progress("check the portable bundle", done, total))
        for name in manifest.files:
            destination = writer.root / name
            destination.parent.mkdir(parents=True, exist_ok=True)
            with source.path(name).open("rb") as read, destination.open("wb") as written:
                shutil.copyfileobj(read, written, _COPY_BYTES)
        return _finish(writer, manifest, engine, progress)


def _finish(writer: Writer, manifest: Manifest, engine: _Engine | None, progress: Progress) -> Bundle:
    """Adds the engines, and puts the bundle in its place."""
    if engine is not None:
        manifest = _compile_engines(writer.root, manifest, engine, progress)
    return writer.commit(manifest, lambda done, total: progress("verify", done, total))


def _compile_engines(root: Path, manifest: Manifest, engine: _Engine, progress: Progress) -> Manifest:
    with _needing("building for ONNX Runtime", "pip install 'clasp-trt[build]'"):
        from clasp_trt.engines import onnxruntime as compiler

        opset = compiler.opset_for(engine.device)
        compiler.compile_graphs(
            root, manifest.graphs, opset, lambda graph, done, total: progress(f"compile {graph}", done, total)
        )
    return replace(
        manifest,
        opset=min(opset, manifest.opset),
        backend=engine.backend,
        target=engine.device.name,
        versions={**manifest.versions, **_versions("onnxruntime")},
    )


@contextmanager
def _needing(work: str, remedy: str) -> Iterator[None]:
    """A package that ``work`` needs and that is not installed, or does not load, becomes one line."""
    try:
        yield
    except ImportError as error:
        raise BackendError(f"{work} needs {error.name or error}, which cannot be imported here; {remedy}") from error


def _prior(family: Family, options: Options) -> Policy:
    """The baseline reads what the checkpoint was trained to read; pruning may also look at shallower layers, and
    anything at layers that were asked for."""
    vision = family.info.vision
    layers = {vision.feature_layer}
    if options.vision_layers is not None:
        for layer in options.vision_layers:
            if not 0 <= layer <= vision.layers:
                raise PolicyError(
                    f"--vision-layers: there is no layer {layer}; the tower of this checkpoint has 0 to {vision.layers}"
                )
        layers |= set(options.vision_layers)
    elif options.pruning.place != "none":
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


def _weights(checkpoint: Checkpoint) -> int:
    """The numbers that a checkpoint holds."""
    return sum(prod(tensor.shape) for tensor in checkpoint.tensors(str).values())


def _check_assets(root: Path, model: ModelInfo, checkpoint: str) -> None:
    """Does to a staged bundle's files what a first request would, in the runtime's own words.

    Raises :class:`CheckpointError`, naming the file of ``checkpoint`` that cannot work.
    """
    from PIL import Image

    from clasp_trt.runtime.chat import ChatTemplate
    from clasp_trt.runtime.preprocess import Preprocessor
    from clasp_trt.runtime.tokenizer import Tokenizer

    side = model.vision.image_size
    with _asset("preprocessor_config.json", checkpoint):
        config = json.loads((root / "preprocessor_config.json").read_text(encoding="utf-8"))
        # not square and not of the right size, so that a missing resize or crop is seen
        made = Preprocessor.from_json(config)([Image.new("RGB", (2 * side, side + 1))])
        if made.shape != (1, 3, side, side):
            raise BundleError(
                f"it makes pictures of {made.shape[3]}x{made.shape[2]} pixels, but the vision tower takes {side}x{side}"
            )
    with _asset("tokenizer.json", checkpoint):
        tokenizer = Tokenizer.from_file(root / "tokenizer.json")
    with _asset("chat template", checkpoint):
        special = json.loads((root / "special_tokens_map.json").read_text(encoding="utf-8"))
        template = (root / "chat_template.jinja").read_text(encoding="utf-8")
        chat = ChatTemplate(template, model.image_token, special)
        rendered = {with_image: chat.render("x", with_image=with_image) for with_image in (False, True)}
    with _asset("tokenizer.json", checkpoint):
        for with_image, text in rendered.items():
            found = tokenizer.encode_chat(text).count(model.image_token_id)
            if found != with_image:
                raise BundleError(
                    f"a prompt with {int(with_image)} images has {found} tokens {model.image_token} "
                    f"(id {model.image_token_id})"
                )


@contextmanager
def _asset(name: str, checkpoint: str) -> Iterator[None]:
    """What the runtime says against a file becomes one line about the checkpoint that it came from."""
    try:
        yield
    except ClaspError as error:
        reason = str(error).removeprefix(f"{name}: ")
        raise CheckpointError(f"the {name} of {checkpoint} cannot be used: {reason}; mend or replace it") from error


def _versions(*packages: str) -> dict[str, str]:
    """The installed version of each of ``packages`` that is there."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
