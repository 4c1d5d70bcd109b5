"""What must hold between the fields of a manifest that are each legal by themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import zip_longest

from clasp_trt.bundle.clips import Clips
from clasp_trt.bundle.errors import InconsistentManifest
from clasp_trt.bundle.manifest import MANIFEST, POLICY, PORTABLE, Graph, Manifest
from clasp_trt.bundle.media import Medium, Processor
from clasp_trt.bundle.roundings import ROUNDINGS
from clasp_trt.chain import Chain, names, port, ports, vision_ports
from clasp_trt.chain.ports import Port
from clasp_trt.operators import MAX_TOKENS
from clasp_trt.quantization import DECODER, EMBEDDING, INT4_OPSET, INT8
from clasp_trt.splitting import Split
from clasp_trt.targets import COMPILED, TARGETS
from clasp_trt.tensors import FLOATS, TensorSpec

_NEAR_SHARE = Fraction(1, 30)
"""How far a share of zeros may be from what was asked: half an input of an output that has 16 or more."""


def check(manifest: Manifest, source: str) -> None:
    """Raise :class:`InconsistentManifest`, naming the place in ``source``, for the first contradiction."""
    for rule in (
        _names,
        _dims,
        _quantization,
        _sparsity,
        _generation,
        _media,
        _pruning,
        _segments,
        _chain,
        _ports,
        _backend,
        _engines,
        _together,
    ):
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
    if schedule.tokens != max(manifest.model.tokens):
        yield f"schedule.tokens: {schedule.tokens}, but model.tokens is {list(manifest.model.tokens)}"
    if schedule.tower is not None and schedule.tower.after_block >= vision.layers:
        yield f"schedule.tower.after_block: {schedule.tower.after_block}, but the tower has {vision.layers} layers"
    if decoder.deepstack > decoder.layers:
        yield f"model.decoder.deepstack: {decoder.deepstack}, but the decoder has {decoder.layers} layers"
    if schedule.layers != decoder.layers:
        yield f"schedule.layers: {schedule.layers}, but model.decoder.layers is {decoder.layers}"


def _quantization(manifest: Manifest) -> Iterator[str]:
    """What is rounded can be, and graphs of its opset can hold it."""
    table = manifest.quantization.of(EMBEDDING)
    if table is not None and table != INT8:
        yield f"quantization.embedding: {table}, but rows are looked up in int8 alone"
    if manifest.quantization.in_blocks and manifest.opset < INT4_OPSET:
        yield f"opset: {manifest.opset}, but integers in blocks came with {INT4_OPSET}"
    if manifest.calibration is not None and manifest.quantization.of(DECODER) is None:
        yield "calibration: of a decoder that is not rounded"
    if manifest.calibration is not None and ROUNDINGS not in manifest.files:
        yield f"calibration: without {ROUNDINGS} among the files, which says what it did"


def _sparsity(manifest: Manifest) -> Iterator[str]:
    """Questions chose what they were asked to, and what is zero is about what was asked for."""
    sparse = manifest.sparse
    if sparse is None:
        return
    if sparse.sparsity.is_calibrated and sparse.data is None:
        yield f"sparsity.data: null, but {sparse.sparsity.scores} chooses by questions"
    if sparse.data is None and (sparse.rows or sparse.tokens):
        yield "sparsity.rows: questions of no file"
    share, allowed = sparse.sparsity.share, 0 if sparse.sparsity.pattern is not None else _NEAR_SHARE
    if abs(Fraction(sparse.zeros, sparse.weights) - share) > allowed:
        yield f"sparsity.zeros: {sparse.zeros} of {sparse.weights} weights, which is not {sparse.sparsity.asked}"


def _generation(manifest: Manifest) -> Iterator[str]:
    """What is asked for or forbidden is in the vocabulary."""
    if manifest.generation is not None:
        for problem in manifest.generation.beyond(manifest.model.decoder.vocab_size):
            yield f"generation.{problem}"


def _media(manifest: Manifest) -> Iterator[str]:
    """What is said of pictures agrees with itself, with the model's numbers, and with the ports that take it."""
    model, image, images = manifest.model, manifest.media.image, manifest.media.images
    if model.tokens != manifest.media.token_range:
        made = list(manifest.media.token_range)
        number = "pictures" if images == 1 else f"1 to {images} pictures"
        yield f"model.tokens: {list(model.tokens)}, but media.image.processor makes {made} of {number}"
    if manifest.schedule.stages and (arriving := manifest.schedule.entering()) > MAX_TOKENS:
        yield f"model.tokens: {arriving}, but one selection handles {MAX_TOKENS}"
    if model.decoder.axes != image.positions.axes:
        yield (
            f"model.decoder.axes: {model.decoder.axes}, but media.image.positions of kind '{image.positions.kind}' have"
            f" {image.positions.axes}"
        )
    if model.decoder.window is not None and model.decoder.visible == "causal":
        yield f"model.decoder.window: {model.decoder.window}, but no graph of 'causal' rows is told of a window"
    video, graphs = manifest.media.video, {graph.name: graph for graph in manifest.graphs}
    given = [("image.processor", image.processor, names.VISION)]
    if manifest.media.several is not None:
        given.append(("several", manifest.media.several, names.VISION))
    if video is not None:
        given.append(("video.processor.frame", video.processor.frame, manifest.for_clips(names.VISION)))
    for place, processor, name in given:
        if name in graphs and {*graphs[name].inputs} != {*processor.inputs}:
            shapes = ", ".join(f"{each.name} {each}" for each in processor.inputs)
            yield f"media.{place}: it gives {shapes}, which graph {name!a} does not take"
    if video is not None:
        yield from _clips(video, image, shared=not manifest.own_to_clips)


def _clips(video: Clips, image: Medium, *, shared: bool) -> Iterator[str]:
    """A clip is told from a picture, and its frames become tokens as pictures do where graphs are ``shared``."""
    if video.layout.placeholder == image.layout.placeholder:
        yield f"media.video.layout.placeholder: {video.layout.placeholder!a}, which stands for a picture too"
    frame, tile = video.processor.frame, image.processor
    if shared and isinstance(frame, Split) and isinstance(tile, Split) and frame.tokens != tile.tokens:
        yield f"media.video.processor.frame: {frame.tokens} tokens of a tile, but pictures have {tile.tokens}"


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


def _chain(manifest: Manifest) -> Iterator[str]:
    """Every graph of the chain is there, in its order, and each segment has the slots that its context asks for."""
    chain, found = _chain_of(manifest), [graph.name for graph in manifest.graphs]
    expected = list(chain.names())
    if found == expected[:-1]:  # the last, `greedy`, came later than the format
        expected.pop()
    for i, (name, wanted) in enumerate(zip_longest(found, expected)):
        if name != wanted:
            there = "nothing" if name is None else ascii(name)
            yield f"graphs[{i}]: {there}, expected {'no more' if wanted is None else ascii(wanted)}"
    for i, (segment, cut) in enumerate(zip(manifest.segments, chain.cuts, strict=True)):
        if segment.graph != cut.name:
            yield f"segments[{i}].graph: {segment.graph!a}, expected {cut.name!a}"
        if segment.capacity != (slots := cut.capacity(manifest.max_context, chain.schedule.tokens)):
            yield f"segments[{i}].capacity: {segment.capacity}, but max_context {manifest.max_context} asks for {slots}"


def _ports(manifest: Manifest) -> Iterator[str]:
    """Each graph has the ports that the sizes of the model, the schedule and the context ask for."""
    graphs = {graph.name: (i, graph) for i, graph in enumerate(manifest.graphs)}
    dtype = FLOATS[manifest.precision]
    layers = {segment.graph: segment.last_layer - segment.first_layer + 1 for segment in manifest.segments}
    for name, count in layers.items():  # before a port is made for each of 10^9 layers
        i, graph = graphs[name]
        if (held := port.layers(each.name for each in graph.inputs)) != count:
            yield f"graphs[{i}].inputs: caches of {held} layers, but segment {name!a} has {count}"
            return
    sizes, context = manifest.model.decoder, manifest.max_context
    scores = port.SCORES if manifest.scores_rows else 1
    slots = _slots(graphs[names.EMBED][1])
    for name, expected in ports.decoder(_chain_of(manifest), sizes, context, dtype, slots, scores):
        if name in graphs:
            i, graph = graphs[name]
            yield from _differing(f"graphs[{i}].inputs", graph.inputs, expected.inputs)
            yield from _differing(f"graphs[{i}].outputs", graph.outputs, expected.outputs)
    yield from _seen(manifest, graphs, dtype)


def _together(manifest: Manifest) -> Iterator[str]:
    """Graphs and engines take as many requests in one call as the bundle is for."""
    if manifest.slots == 1:
        return
    if not manifest.has_slots:
        yield f"slots: {manifest.slots}, but the graphs take one request at a time"
    for i, engine in enumerate(() if manifest.engines is None else manifest.engines.engines):
        most = max(
            (profile.sizes[port.SLOTS][2] for profile in engine.profiles if port.SLOTS in profile.sizes), default=0
        )
        if 0 < most < manifest.slots:
            yield f"slots: {manifest.slots}, but engines.engines[{i}].profiles take at most {most}"


def _slots(embed: Graph) -> int | str:
    """What leads the ports of the decoder: any number of slots, or the one of bundles from before there were more."""
    ids = next((each.shape for each in embed.inputs if each.name == port.INPUT_IDS), ())
    return 1 if ids[:1] == (1,) else port.SLOTS


def _seen(manifest: Manifest, graphs: Mapping[str, tuple[int, Graph]], dtype: str) -> Iterator[str]:
    """A tower gives, for each token, the layers that the projector fuses, and a saliency: of pictures, and of clips."""
    i, vision = graphs[names.VISION]
    features = next((each for each in vision.outputs if each.name == port.FEATURES), None)
    read = features.shape[1] if features is not None and len(features.shape) > 1 else None
    if not isinstance(read, int):
        yield f"graphs[{i}].outputs: expected {port.FEATURES} of a fixed number of layers"
        return
    video, seeing = manifest.media.video, (names.VISION, names.PROJECTOR)
    for count in {1, manifest.media.images}:
        yield from _eye(manifest, manifest.media.among(count), read, [graphs[name] for name in seeing], dtype)
    if video is not None:
        watching = [graphs[manifest.for_clips(name)] for name in seeing]
        yield from _eye(manifest, video.processor.frame, read, watching, dtype)


def _eye(
    manifest: Manifest, processor: Processor, read: int, graphs: Sequence[tuple[int, Graph]], dtype: str
) -> Iterator[str]:
    """A tower and a projector have the ports that go with what ``processor`` makes, of ``read`` layers."""
    (i, vision), (j, projector) = graphs
    model, thinning = manifest.model, manifest.schedule.tower
    expected = processor.projector(read, model.vision.width, model.decoder.width, dtype)
    if thinning is not None:
        if expected != vision_ports.projector(read, thinning.of, model.vision.width, model.decoder.width, dtype):
            yield f"schedule.tower.of: {thinning.of}, but media makes other tokens of a picture, or of several patches"
            return
        expected = vision_ports.projector(read, thinning.keep, model.vision.width, model.decoder.width, dtype)
    frames, _, rows, _ = expected.inputs[0].shape
    given = [expected.inputs[0].spec, TensorSpec(port.CLS_SALIENCY, "float32", (frames, rows))]
    if (sets := manifest.model.decoder.deepstack) > 0:
        given.append(TensorSpec(port.DEEPSTACK, dtype, (sets, port.VISUAL_TOKENS, manifest.model.decoder.width)))
    if thinning is not None:
        given += [each.spec for each in vision_ports.thinned(thinning)]
    yield from _differing(f"graphs[{i}].outputs", vision.outputs, given)
    yield from _differing(f"graphs[{j}].inputs", projector.inputs, expected.inputs)
    yield from _differing(f"graphs[{j}].outputs", projector.outputs, expected.outputs)


def _differing(place: str, found: Iterable[TensorSpec], expected: Iterable[Port | TensorSpec]) -> Iterator[str]:
    """The first port that is missing, of another dtype or shape, or too many."""
    stated = {each.name: each for each in found}
    for each in expected:
        spec = TensorSpec(each.name, each.dtype, each.shape)
        if (other := stated.pop(each.name, None)) != spec:
            yield f"{place}: {each.name} is {'missing' if other is None else other}, expected {spec}"
    for name in stated:
        yield f"{place}: {name!a} is none of this graph's"


def _chain_of(manifest: Manifest) -> Chain:
    runs = [(each.first_layer, each.last_layer) for each in manifest.segments]
    clips = () if manifest.media.video is None else manifest.own_to_clips
    return Chain.of(manifest.schedule, runs, varies=manifest.model.varies, clips=clips, method=manifest.method)


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
