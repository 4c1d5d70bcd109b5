"""``clasp-trt plan``: will it fit, and how fast, before any download of weights or build."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from clasp_trt.cli.examples import examples
from clasp_trt.cli.options import build_memory_option, revision_option, shape_options, slots_option
from clasp_trt.cli.output import json_option, print_json, print_table
from clasp_trt.errors import CheckpointError

if TYPE_CHECKING:
    from clasp_trt.export.description import Description
    from clasp_trt.options import Options
    from clasp_trt.tools.plan import Memory, Plan, Side

CONFIG = "config.json"


@click.command(
    "plan",
    epilog=examples("clasp-trt plan ./checkpoint --target orin-nano-8 --precision fp16 --budget 64"),
)
@click.argument("model")
@revision_option
@click.option("--target", default="cpu", show_default=True, help="Device to plan for; see `clasp-trt targets`.")
@shape_options
@slots_option
@build_memory_option
@click.option("--prompt-tokens", type=int, help="Text tokens of the prompt that times are estimated for [default: 64].")
@json_option
def command(
    model: str,
    revision: str | None,
    options: Options,
    target: str,
    slots: int | None,
    max_build_memory: float | None,
    prompt_tokens: int | None,
    as_json: bool,
) -> None:
    """Estimate whether MODEL fits a target, and how fast it can be there, from its settings alone.

    MODEL is a Hugging Face folder or hub id, of which config.json is read, and the image settings if there are some;
    of a hub id nothing else is fetched.
    """
    from clasp_trt import targets
    from clasp_trt.options import EngineOptions, slot_count
    from clasp_trt.tools import plan as planning

    device = targets.get(target)
    engines = EngineOptions(max_build_memory=max_build_memory)
    whole = replace(
        _described(model, revision),
        images=options.images,
        frames=options.max_frames,
    ).rounded(options.quantization)
    options.check_clips(whole.clip_tokens is not None)
    description = whole.capped(options.most_tokens).thinned(options.pruning.tower)
    options.check_tokens(whole.picture_tokens, description.picture_tokens)
    decoder, tokens = description.decoder, max(description.tokens)
    request = planning.Request(
        model=description,
        target=device,
        schedule=options.pruning.schedule(
            tokens, decoder.layers, short_sighted=decoder.short_sighted(tokens), thinning=description.thinning
        ),
        precision=options.floats,
        context=options.context(decoder.max_positions, tokens),
        text_tokens=planning.TEXT_TOKENS if prompt_tokens is None else prompt_tokens,
        machine=planning.measure() if device.sm is None else None,
        build_memory=engines.memory_bytes,
        slots=slot_count(slots),
        sparsity=options.sparse,
    )
    plan = planning.make(request)
    advice = planning.advise(plan)
    if as_json:
        print_json({**plan.to_json(), "fits": plan.pruned.memory.fits, "advice": advice})
        return
    _tell(plan, advice)


def _described(model: str, revision: str | None) -> Description:
    from clasp_trt.bundle import MANIFEST
    from clasp_trt.export.family import describe_folder
    from clasp_trt.export.hub import locate
    from clasp_trt.export.lookalikes import ADAPTER, no_config, refuse_adapter
    from clasp_trt.export.media import SETTINGS

    place = locate(model, (CONFIG, ADAPTER, *SETTINGS), revision)
    if (place.root / MANIFEST).is_file():
        raise CheckpointError(f"{model} is a bundle, made already; give its checkpoint, or see `clasp-trt inspect`")
    refuse_adapter(place.root)
    if not (place.root / CONFIG).is_file():
        raise no_config(place.root)
    return describe_folder(place.root, place.name)


def _tell(plan: Plan, advice: list[str]) -> None:
    request, pruned = plan.request, plan.request.schedule.prunes
    model = request.model
    parts = ", ".join(f"{name} {count / 1e6:.1f} M" for name, count in model.parts.items())
    click.echo(
        f"{model.name} ({model.model_type}) on {request.target.name} ({request.target.device}), {request.precision}, "
        f"{request.target.backend}, context {request.context}"
    )
    click.echo(f"parameters  {model.parameters / 1e6:.1f} M: {parts}")
    if model.integers:
        click.echo(f"weights     {model.integers}")
    if request.sparsity is not None:
        click.echo(f"zeros       {request.sparsity}: {plan.zeros_buy}")
    click.echo(f"pruning     {request.schedule.describe()}\n")
    sides = (plan.pruned, plan.unpruned) if pruned else (plan.pruned,)
    print_table(_memory_rows(sides, pruned))
    click.echo()
    if plan.pruned.timing is not None:
        print_table(_time_rows(sides, pruned))
        click.echo()
    if pruned:
        faster = "" if plan.ttft_ratio is None else f"time to first token x {plan.ttft_ratio:.2f}, "
        click.echo(f"pruning buys: {faster}{_gb(plan.cache_saved)} less KV cache")
    if plan.pruned.memory.slots_that_fit:
        click.echo(_slots(plan))
    click.echo(_verdict(plan.pruned.memory, request.target.name))
    if not plan.pruned.memory.fits:
        click.echo(f"what would fit: {'; '.join(advice) or 'nothing among precisions, contexts, budgets and targets'}")
    click.echo("\nassumed:")
    for line in plan.assumptions:
        click.echo(f"- {line}")


def _slots(plan: Plan) -> str:
    """How many requests the device could answer together."""
    most, request = plan.pruned.memory.slots_that_fit, plan.request
    each = _gb(sum(plan.pruned.memory.caches.values()) // request.slots)
    bought = "" if plan.unpruned.memory.slots_that_fit == most else f", {plan.slots_bought} of them bought by pruning"
    return f"slots: {request.slots} planned, {each} of KV cache each; memory is there for {most}{bought}"


def _memory_rows(sides: tuple[Side, ...], pruned: bool) -> list[tuple[str, ...]]:
    """One column for each side; a decoder segment is one row in both."""
    found = [side.memory for side in sides]
    layers = {cut.name: f"layers {cut.first}-{cut.last}" for cut in sides[0].cuts}
    rows: list[tuple[str, ...]] = [("MEMORY", "", *(("PRUNED", "UNPRUNED") if pruned else ("",)))]
    for name in found[0].weights:
        rows.append(
            ("weights", f"{name}, {layers[name]}" if name in layers else name, *_cells(m.weights[name] for m in found))
        )
    for name, where in layers.items():
        rows.append(("KV cache", f"{name}, {where}", *_cells(m.caches[name] for m in found)))
    rows.append(("activations", "largest graph's prefill", *_cells(m.activations for m in found)))
    rows.append(("runtime", "libraries and process", *_cells(m.runtime for m in found)))
    rows.append(("needed", "", *_cells(m.needed for m in found)))
    if (total := found[0].total) is not None and (available := found[0].available) is not None:
        rows.append(("available", f"of {_gb(total)}", *_cells(available for _ in found)))
    what = "graphs and engines" if found[0].build is not None else "graphs"
    rows.append(("on disk", f"the bundle's {what}", *_cells(m.bundle for m in found)))
    builds = [memory.build for memory in found if memory.build is not None]
    if builds:
        where = "" if builds[0].on_device else ", on the building host"
        rows.append(("build peak", f"{builds[0].graph}, the largest graph{where}", *_cells(b.peak for b in builds)))
        rows.append(("", "decoder in one graph, for comparison", *_cells(b.whole for b in builds)))
    return rows


def _time_rows(sides: tuple[Side, ...], pruned: bool) -> list[tuple[str, ...]]:
    timings = [side.timing for side in sides if side.timing is not None]
    other = {stage.name: stage for stage in timings[-1].stages}
    titles = ("ROWS", "PRUNED", "BOUND BY", "ROWS", "UNPRUNED") if pruned else ("ROWS", "", "BOUND BY")
    rows: list[tuple[str, ...]] = [("TIME", *titles)]
    for stage in timings[0].stages:
        cells = [str(stage.rows), _ms(stage.seconds), stage.bound]
        if pruned:
            same = other.get(stage.name)
            cells += ["-", "-"] if same is None else [str(same.rows), _ms(same.seconds)]
        rows.append((stage.name, *cells))
    ends = [_ms(timing.ttft) for timing in timings]
    steps = [_ms(timing.decode.seconds) for timing in timings]
    speeds = [f"{1 / timing.decode.seconds:.1f}/s" for timing in timings]
    for name, bound, values in (
        ("first token", "", ends),
        ("each token", timings[0].decode.bound, steps),
        ("tokens", "", speeds),
    ):
        rows.append((name, "", values[0], bound, *(("", values[1]) if pruned else ())))
    return rows


def _verdict(memory: Memory, target: str) -> str:
    if memory.available is None:
        return "no memory figure is known for this target"
    if not memory.runs:
        return f"does not fit: {_gb(memory.needed)} needed, {_gb(memory.available)} available on {target}"
    if not memory.builds and memory.build is not None:
        return (
            f"runs, but its engines cannot be built there: {_gb(memory.build.peak)} for {memory.build.graph}, "
            f"{_gb(memory.available)} available"
        )
    return f"fits: {_gb(memory.available - memory.needed)} to spare on {target}"


def _cells(counts: Iterable[int]) -> list[str]:
    return [_gb(count) for count in counts]


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds < 1e-2 else f"{seconds * 1e3:.0f} ms"
