"""What would make a plan fit that does not: each suggestion was planned itself, and fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from clasp_trt import build_memory
from clasp_trt import schedule as schedules
from clasp_trt.chain.cuts import MIN_TEXT
from clasp_trt.errors import ClaspError, ScheduleError
from clasp_trt.published import PUBLISHED_KEEPS, PUBLISHED_TOKENS
from clasp_trt.quantization import parse
from clasp_trt.targets import TARGETS, Target
from clasp_trt.tools.plan import assumptions
from clasp_trt.tools.plan.memory import ITEM_BYTES, Memory
from clasp_trt.tools.plan.plan import Plan, Request, make


def advise(plan: Plan) -> list[str]:
    """Options that each make ``plan`` fit, as they are typed; empty if it fits, or if nothing is known to help."""
    request = plan.request
    if plan.pruned.memory.fits:
        return []
    finer = _finer(request, plan.pruned.memory)
    return [
        *finer,
        *_precisions(request),
        *_roundings(request),
        *_contexts(request),
        *_budgets(request),
        *_targets(request),
    ]


def _finer(request: Request, memory: Memory) -> Iterator[str]:
    """A finer cut of the decoder, where only building its engines takes too much."""
    if memory.runs and memory.available is not None:
        gigabytes = build_memory.within(memory.available)
        if _fits(replace(request, build_memory=round(float(gigabytes) * 1e9))):
            yield f"--max-build-memory {gigabytes}"


def _precisions(request: Request) -> Iterator[str]:
    for precision in _smaller(request):
        if _fits(replace(request, precision=precision)):
            yield f"--precision {precision}"
            return


def _roundings(request: Request) -> Iterator[str]:
    """Weights of 8 bits, or else of 4, where none are rounded yet; in a smaller precision where that is needed too."""
    if request.model.integers:
        return
    for scheme in ("int8", "int4"):
        model = replace(request.model, quantization=parse(scheme))
        for precision in (request.precision, *_smaller(request)):
            if _fits(replace(request, model=model, precision=precision)):
                changed = "" if precision == request.precision else f"--precision {precision} "
                yield f"{changed}--quantize {scheme}"
                return


def _contexts(request: Request) -> Iterator[str]:
    """The longest context that fits, by bisection: what a bundle takes grows with it."""
    low = max(request.model.tokens) + max(MIN_TEXT, request.text_tokens + 1)
    if request.context <= low or not _fits(replace(request, context=low)):
        return
    high = request.context
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _fits(replace(request, context=middle)) else (low, middle)
    yield f"--max-context {low}"


def _budgets(request: Request) -> Iterator[str]:
    """The largest published share of the tokens that fits, as a budget."""
    model, stages = request.model, request.schedule.stages
    before_decoder = request.schedule.source == "encoder"
    for published in PUBLISHED_KEEPS:
        budget = max(model.tokens) * published // PUBLISHED_TOKENS
        if budget >= request.schedule.mean_tokens:
            continue
        try:
            if before_decoder:
                solved = schedules.encoder(max(model.tokens), model.decoder.layers, budget)
            else:
                solved = schedules.solve(
                    max(model.tokens), model.decoder.layers, budget, request.schedule.prune_layers if stages else None
                )
        except ScheduleError:
            continue
        if _fits(replace(request, schedule=solved)):
            yield f"--budget {budget}"
            return


def _targets(request: Request) -> Iterator[str]:
    """The smallest device of the same kind, in this precision and in a smaller one."""
    seen: set[str] = set()
    for precision in (request.precision, *_smaller(request)):
        for target in sorted(TARGETS.values(), key=_size):
            if not _alike(target, request.target) or precision not in target.precisions:
                continue
            if _fits(replace(request, precision=precision, target=target)):
                if target.name not in seen and target is not request.target:
                    changed = "" if precision == request.precision else f"--precision {precision} "
                    yield f"{changed}--target {target.name}"
                seen.add(target.name)
                break


def _smaller(request: Request) -> list[str]:
    """Precisions of fewer bytes that the target takes."""
    size = ITEM_BYTES[request.precision]
    return [precision for precision in request.target.precisions if ITEM_BYTES[precision] < size]


def _size(target: Target) -> float:
    return target.memory_gb or 0.0


def _alike(one: Target, other: Target) -> bool:
    """Whether both are Jetsons, or both graphics cards."""
    if assumptions.is_cpu(one) or assumptions.is_cpu(other):
        return False
    return assumptions.shares_memory(one) == assumptions.shares_memory(other)


def _fits(request: Request) -> bool:
    try:
        return make(request).pruned.memory.fits
    except ClaspError:
        return False
