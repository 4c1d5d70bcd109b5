"""A plan: will a model fit a device, how fast can it be there, and what does pruning buy."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from clasp_trt import build_memory, targets
from clasp_trt.chain import Chain, Cut, names
from clasp_trt.chain import cuts as chains
from clasp_trt.errors import BackendError, PromptError
from clasp_trt.export.description import Description
from clasp_trt.quantization import DECODER
from clasp_trt.schedule import Schedule
from clasp_trt.sparsity import Sparsity
from clasp_trt.targets import Target
from clasp_trt.tools.plan import assumptions, memory, roofline
from clasp_trt.tools.plan.machine import Machine
from clasp_trt.tools.plan.memory import ITEM_BYTES, Memory
from clasp_trt.tools.plan.roofline import Timing, Work
from clasp_trt.tools.plan.saving import Saving

TEXT_TOKENS = 64
"""Text tokens of a prompt where nothing else is said: a question of a line or two in its chat template."""


@dataclass(frozen=True)
class Request:
    """What is planned.

    ``context`` is the longest sequence of prompt, visual tokens and answer, ``text_tokens`` the text of the prompt that
    times are estimated for. ``machine`` stands for the data sheet of target ``cpu``. ``build_memory`` are the bytes
    that building an engine may take, which cuts the decoder finer. ``slots`` requests are answered together.
    ``sparsity`` is that of the decoder's weights.
    """

    model: Description
    target: Target
    schedule: Schedule
    precision: str
    context: int
    text_tokens: int = TEXT_TOKENS
    machine: Machine | None = None
    build_memory: int | None = None
    slots: int = 1
    sparsity: Sparsity | None = None


@dataclass(frozen=True)
class Side:
    """The request pruned, or the same layers unpruned; ``timing`` is None where the device's speed is unknown."""

    cuts: tuple[Cut, ...]
    memory: Memory
    timing: Timing | None


@dataclass(frozen=True)
class Plan:
    """``pruned`` follows the schedule, ``unpruned`` keeps every token; without stages they are equal."""

    request: Request
    pruned: Side
    unpruned: Side

    @property
    def cache_saved(self) -> int:
        """Bytes of KV cache that pruning saves."""
        return sum(self.unpruned.memory.caches.values()) - sum(self.pruned.memory.caches.values())

    @property
    def slots_bought(self) -> int | None:
        """How many more requests could be answered together than without pruning; None without a figure for the
        device."""
        pruned, unpruned = self.pruned.memory.slots_that_fit, self.unpruned.memory.slots_that_fit
        return None if pruned is None or unpruned is None else pruned - unpruned

    @property
    def ttft_ratio(self) -> float | None:
        """Time to first token, pruned against unpruned."""
        if self.pruned.timing is None or self.unpruned.timing is None:
            return None
        return self.pruned.timing.ttft / self.unpruned.timing.ttft

    @property
    def zeros_buy(self) -> str | None:
        """What the zeros of a sparse decoder buy, in words; None of a dense one. No figure counts them."""
        request = self.request
        if request.sparsity is None:
            return None
        target, scheme = request.target, request.model.integers.of(DECODER)
        sms = () if target.sm is None else (target.sm,)
        why = targets.zeros_in_vain(target, target.backend, sms, request.sparsity, scheme)
        if why is not None:
            return f"buy nothing here: {why}"
        return (
            "TensorRT may skip them (SPARSE_WEIGHTS) where that is faster, which no figure here counts; weights take "
            "the same memory"
        )

    @property
    def assumptions(self) -> list[str]:
        """What the figures take for granted, in words."""
        request = self.request
        return assumptions.describe(request.target, request.machine, request.text_tokens, request.model.images)

    def to_json(self) -> dict[str, Any]:
        """Bytes, milliseconds and tokens; ``pruned`` and ``unpruned`` have the same fields."""
        request = self.request
        return {
            "model": {"name": request.model.name, "model_type": request.model.model_type},
            "parameters": {**request.model.parts, "total": request.model.parameters},
            "target": request.target.name,
            "backend": request.target.backend,
            "precision": request.precision,
            "quantization": {part: asdict(scheme) for part, scheme in request.model.integers.schemes.items()},
            "sparsity": None
            if request.sparsity is None
            else {"asked": request.sparsity.asked, "scores": request.sparsity.scores, "buys": self.zeros_buy},
            "max_context": request.context,
            "slots": request.slots,
            "prompt_tokens": request.text_tokens,
            "schedule": request.schedule.to_json(),
            "mean_visual_tokens": request.schedule.mean_tokens,
            "pruned": _side_json(self.pruned),
            "unpruned": _side_json(self.unpruned),
            "cache_saved_bytes": self.cache_saved,
            "slots_bought": self.slots_bought,
            "ttft_ratio": self.ttft_ratio,
            "assumptions": self.assumptions,
        }


def make(request: Request) -> Plan:
    """Plans ``request``. Raises a :class:`~clasp_trt.errors.ClaspError` for what could not be built or asked at all."""
    targets.check(request.target, request.target.backend, request.precision)
    targets.check_selection(request.target.backend, request.schedule)
    _check(request)
    cuts = _cuts(request)
    # the baseline, row for row: the same layers, and no prune
    whole = tuple(replace(cut, visual=request.schedule.tokens, watched=False) for cut in cuts)
    return Plan(request, _side(request, cuts, pruned=True), _side(request, whole, pruned=False))


def _check(request: Request) -> None:
    model, context, tokens = request.model, request.context, request.schedule.tokens
    chains.check(request.schedule, context, model.decoder.max_positions)
    if not 1 <= request.text_tokens < context - tokens:
        raise PromptError(
            f"--prompt-tokens {request.text_tokens} does not fit; expected 1 to {context - tokens - 1}, so that an "
            f"answer has room beside {tokens} visual tokens in --max-context {context}"
        )


def _cuts(request: Request) -> tuple[Cut, ...]:
    """The segments that an export makes. Raises :class:`BackendError` for a graph that it could not cut finer."""
    model, schedule, limit = request.model, request.schedule, request.build_memory
    if limit is not None and request.target.backend == "onnxruntime":
        raise BackendError("backend onnxruntime builds no engines: drop --max-build-memory")
    item, decoder = ITEM_BYTES[request.precision], model.decoder
    saving = Saving.of(model, item)

    def weigh(first: int, last: int) -> int:
        parameters = memory.segment_parameters(decoder, first, last, request.context)
        return parameters * item - saving.segment(first, last, decoder.layers)

    cuts = Chain.within(schedule, limit, weigh).cuts
    sizes = memory.graph_bytes(model, cuts, request.context, item)
    build_memory.check_cut(sizes, limit, request.precision)
    return cuts


def _side(request: Request, cuts: tuple[Cut, ...], *, pruned: bool) -> Side:
    estimate = memory.estimate(
        request.model, request.target, cuts, precision=request.precision, context=request.context,
        text_tokens=request.text_tokens, machine=request.machine, slots=request.slots,
    )  # fmt: skip
    return Side(cuts, estimate, _timing(request, cuts, pruned=pruned))


def _timing(request: Request, cuts: tuple[Cut, ...], *, pruned: bool) -> Timing | None:
    model, text, schedule = request.model, request.text_tokens, request.schedule
    rates = roofline.rates_of(request.target, request.precision, request.machine)
    if rates is None:
        return None
    cache_item = ITEM_BYTES[request.precision]
    item = 4 if assumptions.is_cpu(request.target) else cache_item
    tokens, decoder, tiles = schedule.entering() if pruned else schedule.tokens, model.decoder, model.views
    saving, least = Saving.of(model, item), 0 if assumptions.is_cpu(request.target) else assumptions.TILE_ROWS
    rounded = model.integers.of(DECODER)
    products = rates.int4 if rounded is not None and rounded.bits == 4 else rates.products
    projected = max(model.images * model.tiles * model.tower.tokens, *(model.clip_tokens or (0,)))
    if pruned:
        projected = schedule.entering(projected)
    stages = [
        roofline.stage(
            names.VISION,
            tokens,
            roofline.tower_work(model.tower if pruned else model.whole, tiles, model.tower.rows, item)
            + Work(0, -saving.vision),
            rates.products,
            rates.bandwidth,
        ),
        roofline.stage(
            "project",
            tokens,
            roofline.projector_work(model.projector, projected, item) + Work(0, -saving.projector),
            rates.products,
            rates.bandwidth,
        ),
    ]
    prunes = _prunes(request, rates) if pruned else {}
    if prunes:
        gram = roofline.gram_work(tokens, decoder.width)
        stages.append(roofline.stage(names.GRAM, tokens, gram, rates.fp32, rates.bandwidth))
    if -1 in prunes:
        stages.append(prunes[-1])
    for cut in cuts:
        rows = text + cut.visual
        work = roofline.prefill_work(decoder, cut, max(rows, least), text, item)
        work += Work(0, -saving.segment(cut.first, cut.last, decoder.layers))
        stages.append(roofline.stage(cut.name, rows, work, products, rates.bandwidth))
        if cut.last in prunes:
            stages.append(prunes[cut.last])
    step = roofline.decode_work(decoder, {cut: text + cut.visual for cut in cuts}, item, cache_item)
    step += Work(0, -saving.segment(0, decoder.layers - 1, decoder.layers))
    return Timing(tuple(stages), roofline.stage("decode", 1, step, products, rates.bandwidth))


def _prunes(request: Request, rates: roofline.Rates) -> dict[int, roofline.Stage]:
    """The selection of each stage, by the layer that it follows."""
    found = {}
    for stage in Chain.of(request.schedule).prunes:
        work = roofline.selection_work(stage.arriving, stage.keep)
        found[stage.after_layer] = roofline.stage(stage.name, stage.arriving, work, rates.fp32, rates.bandwidth)
    return found


def _side_json(side: Side) -> dict[str, Any]:
    found, timing = side.memory, side.timing
    return {
        "memory_bytes": {
            "weights": found.weights,
            "kv_cache": found.caches,
            "activations": found.activations,
            "runtime": found.runtime,
            "needed": found.needed,
            "available": found.available,
            "device": found.total,
        },
        "bundle_bytes": found.bundle,
        "build": None
        if found.build is None
        else {
            "largest_graph": found.build.graph,
            "peak_bytes": found.build.peak,
            "whole_decoder_bytes": found.build.whole,
            "on_device": found.build.on_device,
        },
        "slots_that_fit": found.slots_that_fit,
        "runs": found.runs,
        "builds": found.builds,
        "segments": [asdict(cut) for cut in side.cuts],
        "times": None
        if timing is None
        else {
            "ttft_ms": timing.ttft * 1e3,
            "tpot_ms": timing.decode.seconds * 1e3,
            "stages": [
                {"name": each.name, "rows": each.rows, "ms": each.seconds * 1e3, "bound": each.bound}
                for each in (*timing.stages, timing.decode)
            ],
        },
    }
