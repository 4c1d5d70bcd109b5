"""The strict JSON form of the manifest: every field is read by its own rule, and named where it breaks it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, fields, replace

from clasp_trt.bundle import consistency, media, media_reader, schema1
from clasp_trt.bundle.errors import ManifestField, ManifestSyntax, SchemaVersion, UnsafePath
from clasp_trt.bundle.generation_reader import generation
from clasp_trt.bundle.manifest import (
    MAX_SLOTS,
    PLUGINS,
    PORTABLE,
    SALIENCY,
    SCHEMA,
    VISIBLE,
    DecoderDims,
    Engine,
    Engines,
    FileEntry,
    Graph,
    Manifest,
    ModelInfo,
    Profile,
    Segment,
    Source,
    VisionDims,
)
from clasp_trt.chain import selections
from clasp_trt.errors import ScheduleError, SparsityError
from clasp_trt.quantization import GPTQ, HELD, PARTS, UNROUNDED, Calibration, Quantization, Scheme
from clasp_trt.schedule import PRUNE_AT, Schedule
from clasp_trt.sparsity import SCORES, Sparse, Sparsity
from clasp_trt.sparsity import parse as parse_sparsity
from clasp_trt.storage.fields import Field, Format, parse
from clasp_trt.targets import BACKENDS, PRECISIONS, TARGETS
from clasp_trt.tensors import DTYPES, TensorSpec

# POSIX portable file names: the only ones that every file system and archive format carries unchanged.
_RELATIVE_PATH = re.compile(r"[A-Za-z0-9._-]{1,255}(/[A-Za-z0-9._-]{1,255})*")
_MAX_PATH_LENGTH = 1024
_MAX_NAME = 255
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEYS = (
    *("schema", "model", "media", "precision", "prune_at", "schedule", "budget", "max_context", "opset"),
    *("graphs", "segments", "backend", "target", "versions", "files"),
)
_ENGINES = "engines"  # a key of bundles that have some, and of no others
_GENERATION = "generation"  # a key that older bundles lack
_METHOD = "method"  # a key of bundles whose prunes are others than CLASP's
_QUANTIZATION = "quantization"  # a key of bundles with rounded weights, and of no others
_CALIBRATION = "calibration"  # a key of bundles that were rounded by one, and of no others
_SPARSITY = "sparsity"  # a key of bundles that have zeros on purpose, and of no others
_ZEROS = "zeros"  # a key of schemes that have some, and of no others
_FLOATING = "floating"  # a key of schemes of FP8, and of no others
_PLUGINS = "plugins"  # a key of engines that have some, and of no others
_DEEPSTACK = "deepstack"  # a key of decoders that have it, and of no others
_SOURCE = "source"  # a key of models from a hub, and of no others
_SLOTS = "slots"  # a key of bundles for more than one, and of no others
_WINDOW = "window"  # a key of decoders that have one, and of no others
_FORMAT = Format(ManifestSyntax, ManifestField, "rebuild the bundle, or copy it again")
_SM = re.compile(r"[1-9][0-9]*\.[0-9]")

MAX_AXES = 3
"""Rotary positions of a row: time, height and width."""


def dumps(manifest: Manifest) -> str:
    """The text of ``clasp.json``: a function of the manifest alone, so that equal builds are equal bytes."""
    content: dict[str, object] = {
        "schema": SCHEMA,
        "model": _model_content(manifest.model),
        "media": media.content(manifest.media),
        "precision": manifest.precision,
        **({_QUANTIZATION: _schemes_content(manifest.quantization)} if manifest.quantization else {}),
        **({} if manifest.calibration is None else {_CALIBRATION: asdict(manifest.calibration)}),
        **({} if manifest.sparse is None else {_SPARSITY: _sparse_content(manifest.sparse)}),
        "prune_at": manifest.prune_at,
        **({} if manifest.method == selections.DEFAULT else {_METHOD: manifest.method}),
        "schedule": manifest.schedule.to_json(),
        "budget": manifest.budget,
        "max_context": manifest.max_context,
        **({} if manifest.slots == 1 else {_SLOTS: manifest.slots}),
        "opset": manifest.opset,
        "graphs": [asdict(graph) for graph in manifest.graphs],
        "segments": [asdict(segment) for segment in manifest.segments],
        "backend": manifest.backend,
        "target": manifest.target,
        "versions": dict(sorted(manifest.versions.items())),
        **({} if manifest.generation is None else {_GENERATION: manifest.generation.stated()}),
        "files": {path: asdict(entry) for path, entry in sorted(manifest.files.items())},
    }
    if manifest.engines is not None:
        content[_ENGINES] = _engines_content(manifest.engines)
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _model_content(model: ModelInfo) -> dict[str, object]:
    content = asdict(model)
    if model.source is None:
        del content[_SOURCE]
    if not model.decoder.deepstack:
        del content["decoder"][_DEEPSTACK]
    if model.decoder.window is None:
        del content["decoder"][_WINDOW]
    return content


def _schemes_content(quantization: Quantization) -> dict[str, object]:
    """Only schemes with zero points say that they have some, and only FP8 that it is."""
    return {
        part: {name: value for name, value in asdict(scheme).items() if name not in (_ZEROS, _FLOATING) or value}
        for part, scheme in quantization.schemes.items()
    }


def _sparse_content(sparse: Sparse) -> dict[str, object]:
    sparsity = sparse.sparsity
    content = {name: value for name, value in asdict(sparse).items() if name != "sparsity"}
    return {"asked": sparsity.asked, "scores": sparsity.scores, **content}


def _engines_content(engines: Engines) -> dict[str, object]:
    content = asdict(engines)
    for engine in content["engines"]:
        if not engine[_PLUGINS]:
            del engine[_PLUGINS]
    return content


def loads(data: bytes, source: str, settings: Callable[[], Mapping[str, object]] | None = None) -> Manifest:
    """Read the bytes of a ``clasp.json`` that errors call ``source``.

    ``settings`` reads the ``preprocessor_config.json`` beside it, which schema 1 needs; without, that is refused too.
    Raises the :class:`~clasp_trt.errors.BundleError` of the first rule of ``docs/bundle-format.md`` that they
    break.
    """
    root = parse(data, source, _FORMAT)
    if _schema(root) == schema1.SCHEMA and settings is not None:
        root = schema1.upgraded(root, settings)
    _check_schema(root)
    manifest = _read(root)
    consistency.check(manifest, source)
    return manifest


def _read(root: Field) -> Manifest:
    top = root.record(*_KEYS, optional=(_METHOD, _SLOTS, _QUANTIZATION, _CALIBRATION, _SPARSITY, _GENERATION, _ENGINES))
    return Manifest(
        model=_model(top["model"]),
        media=media_reader.media(top["media"]),
        precision=top["precision"].one_of(PRECISIONS),
        prune_at=top["prune_at"].one_of(PRUNE_AT),
        schedule=_schedule(top["schedule"]),
        budget=None if top["budget"].value is None else top["budget"].integer(1),
        max_context=top["max_context"].integer(1),
        opset=top["opset"].integer(1),
        graphs=tuple(_graph(item) for item in top["graphs"].elements()),
        segments=tuple(_segment(item) for item in top["segments"].elements()),
        backend=top["backend"].one_of((PORTABLE, *BACKENDS)),
        target=top["target"].one_of((PORTABLE, *TARGETS)),
        versions=_versions(top["versions"]),
        files=_files(top["files"]),
        engines=_engines(top[_ENGINES]) if _ENGINES in top else None,
        generation=generation(top[_GENERATION]) if _GENERATION in top else None,
        quantization=_quantization(top[_QUANTIZATION]) if _QUANTIZATION in top else UNROUNDED,
        calibration=_calibration(top[_CALIBRATION]) if _CALIBRATION in top else None,
        sparse=_sparse(top[_SPARSITY]) if _SPARSITY in top else None,
        slots=top[_SLOTS].integer(2, MAX_SLOTS) if _SLOTS in top else 1,
        method=top[_METHOD].one_of([name for name in selections.READS if name != selections.DEFAULT])
        if _METHOD in top
        else selections.DEFAULT,
    )


def _schema(root: Field) -> int | None:
    """None if the file does not say."""
    if isinstance(root.value, dict) and "schema" in root.value:
        return root.at("schema", root.value["schema"]).integer(0)
    return None


def _check_schema(root: Field) -> None:
    """Before anything else: another schema may know other keys, and must be told apart from a broken file."""
    found = _schema(root)
    if found is not None and found != SCHEMA:
        cure = "upgrade clasp-trt" if found > SCHEMA else "rebuild the bundle"
        raise SchemaVersion(
            f"{root.source}: schema {found}, but this clasp-trt reads schemas {schema1.SCHEMA} and {SCHEMA}: {cure}"
        )


def _model(item: Field) -> ModelInfo:
    of = item.record(*(entry.name for entry in fields(ModelInfo) if entry.name != _SOURCE), optional=(_SOURCE,))
    return ModelInfo(
        model_type=of["model_type"].text(),
        name=of["name"].text(),
        vision=_vision(of["vision"]),
        tokens=_least_usual_most(of["tokens"], least=1),
        decoder=_decoder(of["decoder"]),
        stop_token_ids=tuple(token.integer(0) for token in of["stop_token_ids"].elements()),
        source=_source(of[_SOURCE]) if _SOURCE in of else None,
    )


def _source(item: Field) -> Source:
    of = item.record(*(entry.name for entry in fields(Source)))
    revision, commit = of["revision"], of["commit"]
    return Source(
        of["repository"].text(),
        None if revision.value is None else revision.text(),
        None if commit.value is None else commit.text(),
    )


def _vision(item: Field) -> VisionDims:
    of = item.record(*(entry.name for entry in fields(VisionDims)))
    return VisionDims(
        layers=of["layers"].integer(1),
        width=of["width"].integer(1),
        feature_layer=of["feature_layer"].integer(0),
        saliency=of["saliency"].one_of(SALIENCY),
    )


def _decoder(item: Field) -> DecoderDims:
    names = (entry.name for entry in fields(DecoderDims) if entry.name not in (_DEEPSTACK, _WINDOW))
    of = item.record(*names, optional=(_DEEPSTACK, _WINDOW))
    axes, visible = of.pop("axes").integer(1, MAX_AXES), of.pop("visible").one_of(VISIBLE)
    return DecoderDims(**{name: value.integer(1) for name, value in of.items()}, axes=axes, visible=visible)


def _calibration(item: Field) -> Calibration:
    of = item.record(*(entry.name for entry in fields(Calibration)))
    data = of["data"].text()
    if not _SHA256.fullmatch(data):
        of["data"].fail("a lowercase hexadecimal SHA-256")
    return Calibration(of["method"].one_of((GPTQ,)), data, of["rows"].integer(1), of["tokens"].integer(1))


def _sparse(item: Field) -> Sparse:
    of = item.record("asked", "scores", *(entry.name for entry in fields(Sparse) if entry.name != "sparsity"))
    asked, scores = of["asked"].text(_MAX_NAME), of["scores"].one_of(SCORES)
    sparsity: Sparsity | None = None
    with suppress(SparsityError):
        sparsity = parse_sparsity(asked)
    if sparsity is None or sparsity.asked != asked:
        of["asked"].fail("a share of zeros such as 0.5, or a pattern such as 2:4")
    data = None if of["data"].value is None else of["data"].text()
    if data is not None and not _SHA256.fullmatch(data):
        of["data"].fail("a lowercase hexadecimal SHA-256, or null")
    weights = of["weights"].integer(1)
    return Sparse(
        replace(sparsity, scores=scores),
        of["zeros"].integer(0, weights),
        weights,
        data,
        of["rows"].integer(0 if data is None else 1),
        of["tokens"].integer(0 if data is None else 1),
    )


def _quantization(item: Field) -> Quantization:
    of = item.record(optional=PARTS)
    if not of:
        item.fail(f"one or more of {', '.join(PARTS)}")
    return Quantization({part: _scheme(of[part]) for part in PARTS if part in of})


def _scheme(item: Field) -> Scheme:
    of = item.record("bits", "block", optional=(_ZEROS, _FLOATING))
    block = None if of["block"].value is None else of["block"].integer(1)
    scheme = Scheme(of["bits"].integer(4, 8), block, _ZEROS in of, _FLOATING in of)
    if scheme not in HELD or any(of[name].value is not True for name in (_ZEROS, _FLOATING) if name in of):
        item.fail(" or ".join(map(str, HELD)))
    return scheme


def _least_usual_most(item: Field, least: int) -> tuple[int, int, int]:
    values = [value.integer(least) for value in item.elements()]
    if len(values) != 3 or sorted(values) != values:
        item.fail("three ascending integers: least, usual, greatest")
    return values[0], values[1], values[2]


def _schedule(item: Field) -> Schedule:
    try:
        return Schedule.read(item)
    except ScheduleError as error:
        raise ManifestField(f"{item.source}: {item.place}: {error}") from None


def _graph(item: Field) -> Graph:
    of = item.record("name", "path", "inputs", "outputs")
    inputs = tuple(_tensor(tensor) for tensor in of["inputs"].elements())
    outputs = tuple(_tensor(tensor) for tensor in of["outputs"].elements())
    return Graph(of["name"].text(_MAX_NAME), _path(of["path"]), inputs, outputs)


def _tensor(item: Field) -> TensorSpec:
    of = item.record("name", "dtype", "shape")
    shape = tuple(_dim(dim) for dim in of["shape"].elements())
    return TensorSpec(of["name"].text(_MAX_NAME), of["dtype"].one_of(DTYPES), shape)


def _dim(item: Field) -> int | str:
    if not isinstance(item.value, str):
        return item.integer(0)
    if item.text(_MAX_NAME)[0] in "-0123456789":
        item.fail("an integer or a name")  # "1" would read like 1 and match like a name
    return item.value


def _segment(item: Field) -> Segment:
    of = item.record("graph", "first_layer", "last_layer", "capacity")
    first, last = of["first_layer"].integer(0), of["last_layer"].integer(0)
    return Segment(of["graph"].text(_MAX_NAME), first, last, of["capacity"].integer(1))


def _engines(item: Field) -> Engines:
    of = item.record(*(entry.name for entry in fields(Engines)))
    sms = []
    for sm in of["sms"].elements():
        if not _SM.fullmatch(sm.text()):
            sm.fail("a compute capability such as '8.9'")
        sms.append(sm.text())
    engines = tuple(_one_engine(engine) for engine in of["engines"].elements())
    return Engines(of["version"].text(_MAX_NAME), tuple(sms), of["max_prompt"].integer(1), engines)


def _one_engine(item: Field) -> Engine:
    of = item.record("graph", "path", "profiles", optional=(_PLUGINS,))
    profiles = tuple(_profile(each) for each in of["profiles"].elements())
    plugins = tuple(each.one_of(PLUGINS) for each in of[_PLUGINS].elements()) if _PLUGINS in of else ()
    if _PLUGINS in of and (not plugins or len({*plugins}) < len(plugins)):
        of[_PLUGINS].fail(f"one or more of {', '.join(PLUGINS)}, each once")
    return Engine(of["graph"].text(_MAX_NAME), _path(of["path"]), profiles, plugins)


def _profile(item: Field) -> Profile:
    of = item.record("name", "sizes")
    sizes: dict[str, tuple[int, int, int]] = {}
    for name, member in of["sizes"].members().items():
        sizes[name] = _least_usual_most(member, least=0)
    return Profile(of["name"].text(_MAX_NAME), sizes)


def _versions(item: Field) -> dict[str, str]:
    members = item.members()
    return {item.at(item.place, name).text(_MAX_NAME): value.text(_MAX_NAME) for name, value in members.items()}


def _files(item: Field) -> dict[str, FileEntry]:
    entries: dict[str, FileEntry] = {}
    for path, member in item.members().items():
        of = member.record("bytes", "sha256")
        digest = of["sha256"].text()
        if not _SHA256.fullmatch(digest):
            of["sha256"].fail("64 lowercase hexadecimal digits")
        name = _path(item.at(item.place, path))
        entries[name] = FileEntry(of["bytes"].integer(0), digest)
    return entries


def _path(item: Field) -> str:
    """A normalised relative path of portable names; anything that might lead elsewhere is refused unread."""
    path = item.text()
    portable = len(path) <= _MAX_PATH_LENGTH and _RELATIVE_PATH.fullmatch(path)
    if not portable or not {".", ".."}.isdisjoint(path.split("/")):
        raise UnsafePath(
            f"{item.source}: {item.place}: {path[:80]!a} is not a path inside the bundle: expected names of"
            " letters, digits, '.', '_', '-' joined by single '/', none of them '.' or '..'; rebuild it"
        )
    return path
