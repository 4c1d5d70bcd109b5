"""What a bundle takes in memory: while it runs, and while its engines are built."""

from __future__ import annotations

from dataclasses import dataclass

from clasp_trt.build_memory import peak
from clasp_trt.chain import Cut, names
from clasp_trt.export.decoder.spec import DecoderSpec
from clasp_trt.export.description import Description
from clasp_trt.export.specs import Tower
from clasp_trt.targets import COMPILED, Target
from clasp_trt.tools.plan import assumptions
from clasp_trt.tools.plan.machine import Machine
from clasp_trt.tools.plan.saving import Saving

ITEM_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
_SCORE_BYTES = 4


@dataclass(frozen=True)
class Build:
    """The peak of building one graph after another: ``peak`` bytes for ``graph``, the largest, against ``whole``, the
    peak for the whole decoder in one graph. ``on_device``: it must fit the device's own memory."""

    graph: str
    peak: int
    whole: int
    on_device: bool


@dataclass(frozen=True)
class Memory:
    """Bytes. ``weights`` by graph, ``caches`` by segment, of all ``slots`` together; ``available`` is what the system
    leaves of the device's ``total``, both None if unknown; ``build`` is None where no engine is built. ``bundle`` is
    what the folder takes on disk: the weights of its graphs and, where it has engines, all of them once more in these.
    """

    weights: dict[str, int]
    caches: dict[str, int]
    activations: int
    runtime: int
    total: int | None
    available: int | None
    build: Build | None
    bundle: int
    slots: int

    @property
    def slots_that_fit(self) -> int | None:
        """How many requests could be answered together, 0 if not even one; None without a figure for the device."""
        each = sum(self.caches.values()) // self.slots
        return None if self.available is None else max(0, (self.available - self.needed) // each + self.slots)

    @property
    def needed(self) -> int:
        """What a running bundle takes."""
        return sum(self.weights.values()) + sum(self.caches.values()) + self.activations + self.runtime

    @property
    def runs(self) -> bool:
        """Whether the bundle can run; without a figure for the device, it is taken to."""
        return self.available is None or self.needed <= self.available

    @property
    def builds(self) -> bool:
        """Whether its engines can be built, if that is the device's own job."""
        build = self.build
        return build is None or not build.on_device or self.available is None or build.peak <= self.available

    @property
    def fits(self) -> bool:
        return self.runs and self.builds


def estimate(
    model: Description,
    target: Target,
    cuts: tuple[Cut, ...],
    *,
    precision: str,
    context: int,
    text_tokens: int,
    machine: Machine | None,
    slots: int,
) -> Memory:
    """The memory of ``model``, cut into ``cuts``, on ``target``.

    ``context`` is the longest sequence of prompt, visual tokens and answer, ``text_tokens`` the prompt's text,
    ``slots`` how many requests are answered together, each with caches of its own.
    """
    decoder, tokens, item = model.decoder, max(model.tokens), ITEM_BYTES[precision]
    held = 4 if assumptions.is_cpu(target) else item  # bytes of a weight or activation in memory
    weights, stored = (graph_bytes(model, cuts, context, each) for each in (held, item))
    places = {cut.name: 2 * cut.layers * cut.capacity(context, tokens) for cut in cuts}
    compiled = target.backend in COMPILED
    system, total = assumptions.system_bytes(target), assumptions.memory_bytes(target, machine)
    return Memory(
        weights=weights,
        caches={name: slots * count * decoder.kv_width * item for name, count in places.items()},
        slots=slots,
        activations=max(
            model.tiles * tower_activations(model.tower, held, scores=assumptions.is_cpu(target)),
            *(decoder_activations(decoder, text_tokens + cut.visual, held, assumptions.is_cpu(target)) for cut in cuts),
        ),
        runtime=assumptions.runtime_bytes(target),
        total=total,
        available=None if total is None else max(0, total - system),
        build=_build(target, stored) if compiled else None,
        bundle=sum(stored.values()) * (2 if compiled else 1),
    )


def graph_bytes(model: Description, cuts: tuple[Cut, ...], context: int, item: int) -> dict[str, int]:
    """Bytes of the weights of each graph, floats having ``item``; what is rounded takes less."""
    saving, layers = Saving.of(model, item), model.decoder.layers
    parameters = graph_parameters(model, cuts, context)
    return {name: count * item - saving.graph(name, cuts, layers) for name, count in parameters.items()}


def graph_parameters(model: Description, cuts: tuple[Cut, ...], context: int) -> dict[str, int]:
    """Numbers that each graph of a bundle holds: its weights and, in a segment, the rotary tables."""
    decoder = model.decoder
    graphs = {
        names.VISION: model.tower.built_parameters,
        names.PROJECTOR: model.projector.parameters,
        **model.clip_parameters,
        names.EMBED: decoder.embedding_parameters,
    }
    for cut in cuts:
        graphs[cut.name] = segment_parameters(decoder, cut.first, cut.last, context)
    return graphs


def segment_parameters(decoder: DecoderSpec, first: int, last: int, context: int) -> int:
    """Numbers that a graph of layers ``first`` to ``last`` (inclusive) holds."""
    output = decoder.output_parameters if last == decoder.layers - 1 else 0
    return (last - first + 1) * decoder.layer_parameters + output + context * decoder.head_dim


def decoder_activations(decoder: DecoderSpec, rows: int, item: int, scores: bool) -> int:
    """Bytes that live at once in a layer's prefill of ``rows`` rows: the residual and its norm beside the larger of the
    MLP's three products and the attention's four; the mask; and, with ``scores``, an fp32 score for every head and pair
    of rows, which a fused attention never holds."""
    mlp = 3 * decoder.mlp
    attention = 2 * decoder.attention_width + 2 * decoder.kv_width
    pairs = rows * rows * (item + (decoder.heads * _SCORE_BYTES if scores else 0))
    return rows * (2 * decoder.width + max(mlp, attention)) * item + pairs


def tower_activations(tower: Tower, item: int, scores: bool, rows: int | None = None) -> int:
    """The same for a block of the vision tower, whose attention has no mask over all of them; ``rows`` default to the
    most that it sees."""
    rows = tower.rows if rows is None else rows
    pairs = rows * rows * tower.heads * _SCORE_BYTES if scores else 0
    return rows * (2 * tower.width + tower.wide) * item + pairs


def _build(target: Target, weights: dict[str, int]) -> Build:
    largest = max(weights, key=lambda name: weights[name])
    whole = sum(size for name, size in weights.items() if names.is_segment(name))
    return Build(largest, peak(weights[largest]), peak(whole), assumptions.shares_memory(target))
