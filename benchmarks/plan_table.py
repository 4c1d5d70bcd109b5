"""What fits which Jetson, and how fast, by the estimate of ``clasp-trt plan``: ``python -m benchmarks.plan_table``.

A published model of every family, with weights of 4 and of 8 bits and everything else in fp16, at the default budget
and context, one request at a time. docs/planning-devices.md holds what it prints.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import click

from benchmarks.families import FAMILIES
from clasp_trt import build_memory, targets
from clasp_trt.errors import ClaspError
from clasp_trt.export.family import describe
from clasp_trt.options import DEFAULT_VISUAL_TOKENS, Options
from clasp_trt.quantization import parse
from clasp_trt.tools.plan import Plan, Request, make

DEVICES = ("orin-nano-8", "orin-nx-16", "orin-agx-32", "orin-agx-64", "thor")
SCHEMES = ("int4", "int8")


def planned(family: str, device: str, scheme: str) -> tuple[Plan, bool]:
    """The plan of the family's published model, and whether its decoder is cut finer so that its engines can be built
    where they run."""
    model = describe(dict(FAMILIES[family].config), "config.json", family).capped(DEFAULT_VISUAL_TOKENS)
    options, tokens, decoder = Options(), max(model.tokens), model.decoder
    request = Request(
        model=model.rounded(parse(scheme)),
        target=targets.get(device),
        schedule=options.pruning.schedule(tokens, decoder.layers, short_sighted=decoder.short_sighted(tokens)),
        precision="fp16",
        context=options.context(decoder.max_positions, tokens),
    )
    plan = make(request)
    memory = plan.pruned.memory
    if not memory.runs or memory.builds or memory.available is None:
        return plan, False
    try:
        limit = round(float(build_memory.within(memory.available)) * 1e9)
        return make(replace(request, build_memory=limit)), True
    except ClaspError:  # a graph that cannot be cut
        return plan, False


def cell(plan: Plan, finer: bool) -> str:
    """What a device makes of it: memory, time to first token and tokens per second, or what is lacking."""
    memory, timing = plan.pruned.memory, plan.pruned.timing
    assert timing is not None, "every Jetson has known speeds"
    assert memory.available is not None
    if not memory.runs:
        return f"no: {memory.needed / 1e9:.1f} GB needed"
    if memory.build is not None and not memory.builds:
        return f"no: {memory.build.peak / 1e9:.1f} GB to build"
    star = "\\*" if finer else ""
    return f"{memory.needed / 1e9:.1f} GB{star}, {timing.ttft * 1e3:.0f} ms, {1 / timing.decode.seconds:.1f}/s"


def tables() -> Iterator[str]:
    """In Markdown, one for each scheme."""
    for scheme in SCHEMES:
        yield f"### {scheme}\n"
        yield f"| | parameters | {' | '.join(DEVICES)} |"
        yield "|---|---:|" + "---|" * len(DEVICES)
        for family in FAMILIES:
            found = [planned(family, device, scheme) for device in DEVICES]
            size = found[0][0].request.model.parameters / 1e9
            yield f"| `{family}` | {size:.1f} B | {' | '.join(cell(plan, finer) for plan, finer in found)} |"
        yield ""


@click.command()
def main() -> None:
    """Print the tables."""
    print("\n".join(tables()).rstrip())


if __name__ == "__main__":
    main()
