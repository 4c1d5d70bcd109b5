"""Checkpoint to the portable half of a bundle: graphs, tokenizer, templates and configuration."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from clasp_trt import build_memory
from clasp_trt.bundle import Graph, Segment
from clasp_trt.chain import Chain, cuts, names, selections
from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.decoder.segment import segment_graph
from clasp_trt.export.family import Family
from clasp_trt.export.graph import DTYPES, ports
from clasp_trt.export.pruning.prune import embed_graph, gram_graph, greedy_graph, prune_graph
from clasp_trt.notice import tell
from clasp_trt.progress import Progress, silent
from clasp_trt.schedule import Schedule
from clasp_trt.tensors import FLOATS

Admit = Callable[[Graph, int], None]
"""Called with a graph and the bytes of its weights; raises for one that should not be written."""

Ready = Callable[[tuple[Graph, ...]], None]
"""Called with all graphs when everything but these is written: the last before their weights are read."""

GRAPHS = "graphs"
INLINE_BYTES = 256
"""Tensors up to this size stay in the graph's own file."""


@dataclass(frozen=True)
class Exported:
    """What :func:`export` wrote, for the manifest."""

    graphs: tuple[Graph, ...]
    segments: tuple[Segment, ...]


def export(
    checkpoint: Checkpoint,
    family: Family,
    root: Path,
    *,
    layers: tuple[int, ...],
    schedule: Schedule,
    max_context: int,
    precision: str,
    method: str = selections.DEFAULT,
    memory_limit: int | None = None,
    stages_apart: bool = False,
    admit: Admit = lambda graph, weights: None,
    ready: Ready = lambda graphs: None,
    progress: Progress = silent,
) -> Exported:
    """Writes every file of a portable bundle but its manifest and policy into ``root``.

    ``layers`` are the support layers to export, ``max_context`` the longest sequence of prompt, visual tokens and
    answer. ``method`` chooses tokens, one of :data:`clasp_trt.chain.selections.READS`. ``memory_limit`` are the bytes
    that building the engine of any graph may take: the decoder is cut as fine as that asks. ``stages_apart`` makes a
    segment of its own of the layer before each prune. ``admit`` hears of every graph before the first is written, and
    ``ready`` of all of them. Raises :class:`CheckpointError` or :class:`ScheduleError` for what the checkpoint cannot
    give, and :class:`BackendError` for a graph that no cut makes small enough.
    """
    _check(family, layers, schedule, max_context)
    weigh = _weigh(family, max_context, FLOATS[precision])
    chain = Chain.within(
        schedule, memory_limit, weigh, stages_apart=stages_apart, varies=family.info.varies, method=method
    )
    # made before any is written, so that a missing tensor is found now; their weights are not read yet
    models = list(_graphs(family, layers, chain, max_context, FLOATS[precision]))
    _tell_of_unread(checkpoint, family)
    sizes = {str(model.graph.name): sum(tensor.nbytes for tensor in _weights(model)) for model in models}
    build_memory.check_cut(sizes, memory_limit, precision)
    for model in models:
        admit(_described(model), sizes[str(model.graph.name)])
    _write_assets(checkpoint, family, root)
    ready(tuple(_described(model) for model in models))
    done, total = 0, sum(sizes.values())

    def on_tensor(graph: str, size: int) -> None:
        nonlocal done
        done += size
        progress(graph, done, total)

    (root / GRAPHS).mkdir()
    graphs = tuple(save(model, root, on_tensor) for model in models)
    return Exported(graphs, segments_of(chain, max_context))


def segments_of(chain: Chain, max_context: int) -> tuple[Segment, ...]:
    """The decoder's segments as a manifest states them."""
    return tuple(
        Segment(cut.name, cut.first, cut.last, cut.capacity(max_context, chain.schedule.tokens)) for cut in chain.cuts
    )


def save(model: ir.Model, root: Path, on_tensor: Callable[[str, int], None]) -> Graph:
    """Writes one graph with its weights beside it, checks the file, and describes it for the manifest.

    ``on_tensor`` is called with the graph's name and the bytes of each weight written.
    """
    graph = _described(model)
    name, path = graph.name, root / graph.path
    ir.save(
        model,
        path,
        external_data=f"{path.name}.data" if model.graph.initializers else None,
        size_threshold_bytes=INLINE_BYTES,
        alignment=1 << 16,  # so that a runtime can map large weights
        callback=lambda tensor, _: on_tensor(name, tensor.nbytes),
    )
    check_file(path, graph)
    return graph


def _described(model: ir.Model) -> Graph:
    """A graph as the manifest states it."""
    name = str(model.graph.name)
    return Graph(name, f"{GRAPHS}/{name}.onnx", ports(model.graph.inputs), ports(model.graph.outputs))


def check_file(path: Path, graph: Graph) -> None:
    """Checks a written graph: ONNX's rules, strict shape inference, and the ports that the manifest will state."""
    onnx.checker.check_model(str(path), full_check=True)
    written = ir.from_proto(onnx.load(path, load_external_data=False)).graph
    found = Graph(graph.name, graph.path, ports(written.inputs), ports(written.outputs))
    if found != graph:
        raise RuntimeError(f"{path.name} was written with ports {found}, expected {graph}")


def _weights(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """The weights that are written beside the graph."""
    tensors = (value.const_value for value in model.graph.initializers.values())
    return (tensor for tensor in tensors if tensor is not None and tensor.nbytes > INLINE_BYTES)


def _graphs(family: Family, layers: tuple[int, ...], chain: Chain, max_context: int, dtype: str) -> Iterator[ir.Model]:
    """The graphs of a bundle, in the order of :meth:`Chain.names`."""
    dims = family.description.decoder
    weights = family.decoder_weights(dtype)
    yield _named(family.vision_graph(layers, dtype), names.VISION)
    yield _named(family.projector_graph(len(layers), dtype), names.PROJECTOR)
    for name, model in family.clip_graphs(layers, dtype):
        yield _named(model, name)
    table = weights.matrix("embed_tokens.weight", (dims.vocab_size, dims.width))
    yield embed_graph(table, dims.width, dtype, family.embedding_scale)
    if chain.has_gram:
        yield gram_graph(None if chain.varies else chain.schedule.entering(), dims.width, dtype)
    for stage in chain.prunes:
        yield prune_graph(stage, dims.width, dtype, dims.axes, dims.deepstack, dims.visible)
    turned = max_context + family.media.image.positions.start  # the first position may be 1
    for cut in chain.cuts:
        yield segment_graph(dims, cut, cut.capacity(max_context, chain.schedule.tokens), turned, weights, dtype)
    yield greedy_graph(dims.vocab_size)


def _named(model: ir.Model, name: str) -> ir.Model:
    model.graph.name = name
    return model


def _check(family: Family, layers: tuple[int, ...], schedule: Schedule, max_context: int) -> None:
    vision = family.info.vision
    if max(layers) > vision.layers:
        raise CheckpointError(f"the policy reads vision layer {max(layers)}; the tower has layers 0 to {vision.layers}")
    cuts.check(schedule, max_context, family.description.decoder.max_positions)


def _weigh(family: Family, max_context: int, dtype: str) -> Callable[[int, int], int]:
    """The function from first and last layer (inclusive) of a segment to the bytes of its weights."""
    dims, weights = family.description.decoder, family.decoder_weights(dtype)
    tables = 1 if dims.local_rotary is None else 2
    rotary = tables * max_context * dims.head_dim * DTYPES[dtype].bitwidth // 8
    head = weights.nbytes("norm.") + weights.nbytes("lm_head.")

    def weigh(first: int, last: int) -> int:
        layers = sum(weights.nbytes(f"layers.{layer}.") for layer in range(first, last + 1))
        return rotary + layers + (head if last == dims.layers - 1 else 0)

    return weigh


def _write_assets(checkpoint: Checkpoint, family: Family, root: Path) -> None:
    """Tokenizer, templates and settings as they were read; configurations of the checkpoint are for the record."""
    (root / "tokenizer.json").write_text(family.tokenizer.text, encoding="utf-8")
    if (checkpoint.root / "generation_config.json").is_file():
        checkpoint.json("generation_config.json")  # refuses a malformed one
        (root / "generation_config.json").write_bytes((checkpoint.root / "generation_config.json").read_bytes())
    (root / "preprocessor_config.json").write_text(json.dumps(dict(family.image_settings), indent=2) + "\n")
    (root / "chat_template.jinja").write_text(family.chat_template(), encoding="utf-8")
    tokens = json.dumps(dict(family.tokenizer.special), indent=2, ensure_ascii=False)
    (root / "special_tokens_map.json").write_text(tokens + "\n", encoding="utf-8")


def _tell_of_unread(checkpoint: Checkpoint, family: Family) -> None:
    unread = family.unread()
    if unread:
        tell(
            f"{checkpoint.root}: by its config.json the model has none of {len(unread)} stored tensors, which are not "
            f"read, as in transformers: {', '.join(unread[:3])}{', ...' if len(unread) > 3 else ''}"
        )
