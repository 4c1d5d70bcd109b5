"""What must hold between the fields of a manifest that are each legal by themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from clasp_trt.bundle.errors import InconsistentManifest
from clasp_trt.bundle.manifest import MANIFEST, POLICY, PORTABLE, Manifest
from clasp_trt.targets import COMPILED, TARGETS


def check(manifest: Manifest, source: str) -> None:
    """Raise :class:`InconsistentManifest`, naming the place in ``source``, for the first contradiction."""
    for rule in (_names, _dims, _pruning, _segments, _backend, _engines):
        for problem in rule(manifest):
            raise InconsistentManifest(f"{source}: {problem}; rebuild the bundle")


def _names(manifest: Manifest) -> Iterator[str]:
    """Names that must be unique are, and names that refer to something find it."""
    if POLICY not in manifest.files:
        yield f"files: {POLICY} is not listed"
    if MANIFEST in manifest.files:
        yield f"files: {MANIFEST} cannot list itself"
    for name in _repeated(graph.name for graph in manifest.graphs):
        yield f"graphs: two are named {name!a}"
    for i, graph in enumerate(manifest.graphs):
        if graph.path not in manifest.files:
            yield f"graphs[{i}].path: {graph.path} is not among the files"
        for name in _repeated(tensor.name for tensor in graph.inputs + graph.outputs):
            yield f"graphs[{i}]: two tensors are named {name!a}"
    graphs = {graph.name for graph in manifest.graphs}
    for i, segment in enumerate(manifest.segments):
        if segment.graph not in graphs:
            yield f"segments[{i}].graph: there is no graph {segment.graph!a}"
    for name in _repeated(segment.graph for segment in manifest.segments):
        yield f"segments: two share the graph {name!a}"


def _dims(manifest: Manifest) -> Iterator[str]:
    """The model's own numbers agree with each other and with the schedule's."""
    vision, decoder, schedule = manifest.model.vision, manifest.model.decoder, manifest.schedule
    if vision.feature_layer > vision.layers:
        yield f"model.vision.feature_layer: {vision.feature_layer} lies beyond the {vision.layers} layers"
    if decoder.heads % decoder.kv_heads:
        yield f"model.decoder.heads: {decoder.heads} is not a multiple of the {decoder.kv_heads} kv_heads"
    for i, token in enumerate(manifest.model.stop_token_ids):
        if token >= decoder.vocab_size:
            yield f"model.stop_token_ids[{i}]: {token} is outside the vocabulary of {decoder.vocab_size}"
    if schedule.tokens != vision.tokens:
        yield f"schedule.tokens: {schedule.tokens}, but model.vision.tokens is {vision.tokens}"
    if schedule.layers != decoder.layers:
        yield f"schedule.layers: {schedule.layers}, but model.decoder.layers is {decoder.layers}"


def _pruning(manifest: Manifest) -> Iterator[str]:
    """``prune_at`` and ``budget`` say in a word what the stages say in numbers."""
    depths = [stage.after_layer for stage in manifest.schedule.stages]
    needed, agrees = {
        "none": ("no stages", not depths),
        "encoder": ("one stage, before the decoder", depths == [-1]),
        "decoder": ("stages inside the decoder", bool(depths) and min(depths) >= 0),
    }[manifest.prune_at]
    if not agrees:
        found = f"stages after layers {', '.join(map(str, depths))}" if depths else "no stages"
        yield f"prune_at: '{manifest.prune_at}' needs {needed}, but the schedule has {found}"
    if manifest.budget is not None and not depths:
        yield f"budget: {manifest.budget}, but nothing is pruned: expected null"
    if manifest.budget is not None and manifest.budget > manifest.schedule.tokens:
        yield f"budget: {manifest.budget} is more than the {manifest.schedule.tokens} visual tokens"


def _segments(manifest: Manifest) -> Iterator[str]:
    """Segments cover every decoder layer once, in order, and one ends wherever the schedule prunes."""
    following = 0
    for i, segment in enumerate(manifest.segments):
        if segment.first_layer != following or segment.last_layer < segment.first_layer:
            layers = f"{segment.first_layer}..{segment.last_layer}"
            yield f"segments[{i}]: layers {layers}, but layer {following} is next"
        following = segment.last_layer + 1
    if following != manifest.model.decoder.layers:
        yield f"segments: they cover {following} layers of the decoder's {manifest.model.decoder.layers}"
    ends = {segment.last_layer for segment in manifest.segments}
    for _, last in manifest.schedule.segments():
        if last not in ends:
            yield f"segments: the schedule prunes after layer {last}, but no segment ends there"


def _backend(manifest: Manifest) -> Iterator[str]:
    """Backend and target are portable together, or the one runs on the other."""
    backend, target = manifest.backend, manifest.target
    legal = (PORTABLE,) if target == PORTABLE else TARGETS[target].backends
    if backend not in legal:
        yield f"backend: '{backend}', but target '{target}' takes {' or '.join(legal)}"


def _engines(manifest: Manifest) -> Iterator[str]:
    """A backend that compiles has one engine for each graph, whose profiles cover all that varies; others have none."""
    if manifest.backend not in COMPILED:
        if manifest.engines is not None:
            yield f"engines: there are some, but backend '{manifest.backend}' has none"
        return
    if manifest.engines is None:
        yield f"engines: missing, but backend '{manifest.backend}' needs them"
        return
    if not manifest.engines.sms:
        yield "engines.sms: empty, so that they run nowhere"
    graphs = {graph.name: graph for graph in manifest.graphs}
    if [engine.graph for engine in manifest.engines.engines] != list(graphs):
        yield "engines.engines: expected one for each graph, in the order of the graphs"
        return
    for i, engine in enumerate(manifest.engines.engines):
        if engine.path not in manifest.files:
            yield f"engines.engines[{i}].path: {engine.path} is not among the files"
        if not engine.profiles:
            yield f"engines.engines[{i}].profiles: empty"
        for name in _repeated(profile.name for profile in engine.profiles):
            yield f"engines.engines[{i}].profiles: two are named {name!a}"
        inputs = graphs[engine.graph].inputs
        dims = {dim for port in inputs for dim in port.shape if isinstance(dim, str)}
        for profile in engine.profiles:
            here = f"engines.engines[{i}].profiles: {profile.name!a}"
            if lacking := dims - profile.sizes.keys():
                yield f"{here} has no sizes of {min(lacking)!a}"
            if unknown := profile.sizes.keys() - dims - {port.name for port in inputs}:
                yield f"{here} has sizes of {min(unknown)!a}, which the graph lacks"


def _repeated(names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield name
        seen.add(name)
