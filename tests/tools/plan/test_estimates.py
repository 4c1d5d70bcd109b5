"""Memory and times: what must hold of any plan, and a few worked by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clasp_trt import schedule as schedules
from clasp_trt import targets
from clasp_trt.build_memory import peak
from clasp_trt.bundle import Bundle, Manifest
from clasp_trt.chain import Cut
from clasp_trt.errors import BackendError, PromptError, ScheduleError, TargetError
from clasp_trt.export.description import Description
from clasp_trt.export.family import describe, read_description
from clasp_trt.quantization import parse
from clasp_trt.tools.plan import Machine, Request, advise, make, roofline
from tests.tools.plan.conftest import LLAVA_7B, LLAVA_13B, MACHINE

GB = 1_000_000_000


@pytest.mark.parametrize(
    "pruning",
    [
        pytest.param({"schedule": (7,), "prune_layers": (2,), "budget": None}, marks=pytest.mark.full),
        pytest.param({"prune_at": "none"}, marks=pytest.mark.full),
    ],
)
def test_a_finer_cut_is_that_of_an_export(
    built: Callable[..., Bundle], checkpoint: Path, pruning: dict[str, object]
) -> None:
    limit = peak(100_000)  # two of its layers
    manifest = built(target=None, precision="fp16", max_build_memory=limit / 1e9, **pruning).manifest
    shape = read_description(checkpoint / "config.json", "tiny")
    request = Request(
        shape, targets.get("orin-agx-64"), manifest.schedule, "fp16", manifest.max_context, 20, build_memory=limit
    )
    cuts = make(request).pruned.cuts
    assert len(cuts) > len(manifest.schedule.segments())
    assert [(cut.name, cut.first, cut.last) for cut in cuts] == [
        (segment.graph, segment.first_layer, segment.last_layer) for segment in manifest.segments
    ]
    assert [cut.watched for cut in cuts] == ["reference" in _dims(manifest, cut.name) for cut in cuts]


def _dims(manifest: Manifest, name: str) -> set[int | str]:
    graph = next(graph for graph in manifest.graphs if graph.name == name)
    return {dim for port in graph.inputs for dim in port.shape}


def test_rounded_weights_by_hand(request_7b: Callable[..., Request]) -> None:
    """A scale of 2 bytes for 128 inputs of half a byte each, and for all inputs of a byte each."""
    request = request_7b()
    plan = make(replace(request, model=replace(request.model, quantization=parse("int4"))))
    matrices = 4 * 4096 * 4096 + 3 * 4096 * 11008
    layer = matrices // 2 + matrices // 128 * 2 + 2 * 4096 * 2
    table = 32064 * 4096 + 32064 * 2
    weights = plan.pruned.memory.weights
    tables = 2048 * 128 * 2
    assert weights["embed"] == table
    assert weights["segment_3"] == 16 * layer + table + 4096 * 2 + tables
    before = make(request)
    assert plan.pruned.timing is not None
    assert before.pruned.timing is not None
    assert plan.pruned.timing.decode.seconds < before.pruned.timing.decode.seconds / 3
    assert plan.pruned.memory.bundle < before.pruned.memory.bundle / 3


def test_a_7b_fits_an_orin_nx_by_4_bits(request_7b: Callable[..., Request]) -> None:
    request = request_7b(target="orin-nx-16")
    assert not make(request).pruned.memory.fits
    assert any(line.startswith("--quantize int") for line in advise(make(request)))


def test_caches_by_hand(request_7b: Callable[..., Request]) -> None:
    """Keys and values of 32 heads of 128 in fp16: 16 KiB a layer and slot."""
    plan = make(request_7b())
    slots = {"segment_0": (3, 2048), "segment_1": (4, 1772), "segment_2": (9, 1672), "segment_3": (16, 1582)}
    assert plan.pruned.memory.caches == {name: 16384 * layers * count for name, (layers, count) in slots.items()}
    assert sum(plan.unpruned.memory.caches.values()) == 16384 * 32 * 2048


def test_caches_are_those_that_a_bundle_declares(built: Callable[..., Bundle], checkpoint: Path) -> None:
    manifest = built().manifest
    declared = {}
    for segment in manifest.segments:
        graph = next(graph for graph in manifest.graphs if graph.name == segment.graph)
        shapes = [port.shape for port in graph.inputs if port.name.startswith("past_")]
        declared[segment.graph] = 4 * sum(math.prod(shape[1:]) for shape in shapes)  # of one slot
    shape = read_description(checkpoint / "config.json", "tiny")
    request = Request(shape, targets.get("cpu"), manifest.schedule, "fp32", manifest.max_context, 20, MACHINE)
    assert make(request).pruned.memory.caches == declared


def test_weights_by_hand(request_7b: Callable[..., Request]) -> None:
    """A layer of the 7B model has 202 383 360 parameters, the head 32064 x 4096."""
    weights = make(request_7b(context=2048)).pruned.memory.weights
    assert weights["segment_1"] == 2 * (4 * 202_383_360 + 2048 * 128)
    assert weights["segment_3"] == 2 * (16 * 202_383_360 + 32064 * 4096 + 4096 + 2048 * 128)
    assert weights["embed"] == 2 * 32064 * 4096


def test_fp16_is_widened_on_a_cpu(request_7b: Callable[..., Request]) -> None:
    half = make(request_7b("cpu", machine=MACHINE)).pruned.memory
    single = make(request_7b("cpu", machine=MACHINE, precision="fp32")).pruned.memory
    assert half.weights == single.weights
    assert sum(half.caches.values()) * 2 == sum(single.caches.values())


def test_build_peak_is_one_graphs(request_7b: Callable[..., Request]) -> None:
    found = make(request_7b()).pruned.memory
    assert found.build is not None
    assert found.build.graph == "segment_3"
    assert found.build.peak == 200_000_000 + 3 * found.weights["segment_3"]
    whole = sum(size for name, size in found.weights.items() if name.startswith("segment_"))
    assert found.build.whole == 200_000_000 + 3 * whole
    assert found.build.on_device
    assert make(request_7b("rtx4090")).pruned.memory.build.on_device is False  # type: ignore[union-attr]
    assert make(request_7b("cpu", machine=MACHINE)).pruned.memory.build is None


def test_engines_lie_on_disk_beside_their_graphs(request_7b: Callable[..., Request]) -> None:
    found = make(request_7b()).pruned.memory
    assert found.bundle == 2 * sum(found.weights.values())
    widened = make(request_7b("cpu", machine=MACHINE)).pruned.memory
    assert widened.bundle == sum(widened.weights.values()) // 2 == sum(found.weights.values())  # fp16, and no engines


def test_a_jetson_keeps_memory_for_its_system(request_7b: Callable[..., Request]) -> None:
    assert make(request_7b("orin-nano-8")).pruned.memory.available == 8 * 2**30 - 2 * GB
    assert make(request_7b("l4")).pruned.memory.available == 24 * 2**30
    assert make(request_7b("cpu", machine=MACHINE)).pruned.memory.available == 23 * GB


@given(
    budget=st.integers(60, 500),
    depths=st.lists(st.integers(0, 30), min_size=1, max_size=4, unique=True).map(sorted),
    context=st.integers(700, 4096),
    text=st.integers(1, 120),
)
@settings(max_examples=60, deadline=None)
def test_pruning_never_costs_memory_and_cuts_change_no_work(
    budget: int, depths: list[int], context: int, text: int
) -> None:
    shape = describe(LLAVA_7B, "config.json", "x")
    try:
        schedule = schedules.solve(576, 32, budget, depths)
    except ScheduleError:
        return
    plan = make(Request(shape, targets.get("orin-agx-64"), schedule, "fp16", context, text))
    assert plan.cache_saved > 0
    pruned, unpruned = plan.pruned.timing, plan.unpruned.timing
    assert pruned is not None
    assert unpruned is not None
    assert pruned.decode.seconds < unpruned.decode.seconds
    before = {stage.name: stage.seconds for stage in unpruned.stages}
    assert all(stage.seconds <= before[stage.name] * 1.01 for stage in pruned.stages if stage.name in before)
    rows = text + 576
    parts = [roofline.prefill_work(shape.decoder, cut, rows, text, 2) for cut in plan.unpruned.cuts]
    whole = roofline.prefill_work(shape.decoder, Cut("all", 0, 31, 576, watched=False), rows, text, 2)
    assert sum(part.flops for part in parts) == pytest.approx(whole.flops)
    assert sum(part.traffic for part in parts) == pytest.approx(whole.traffic)


def test_prefill_flops_by_hand() -> None:
    """One row alone costs two operations per weight, and its attention to itself."""
    decoder = describe(LLAVA_7B, "config.json", "x").decoder
    work = roofline.prefill_work(decoder, Cut("all", 0, 31, 0, watched=False), 1, 1, 2)
    matrices = 32 * (4 * 4096**2 + 3 * 4096 * 11008) + 32064 * 4096
    assert work.flops == 2 * matrices + 32 * 4 * 4096


def test_decode_reads_every_weight_and_cache_once() -> None:
    shape = describe(LLAVA_7B, "config.json", "x")
    cut = Cut("all", 0, 31, 576, watched=False)
    work = roofline.decode_work(shape.decoder, {cut: 640}, 2, 2)
    assert work.traffic == 2 * (shape.decoder.parameters - 32064 * 4096) + 32 * 640 * 16384


def test_a_stage_meets_the_nearer_bound() -> None:
    assert roofline.stage("x", 1, roofline.Work(100, 10), 10, 10) == roofline.Stage("x", 1, 10.0, "compute")
    assert roofline.stage("x", 1, roofline.Work(10, 100), 10, 10) == roofline.Stage("x", 1, 10.0, "bandwidth")


def test_stages_stand_in_the_order_of_a_request(request_7b: Callable[..., Request]) -> None:
    plan = make(request_7b())
    assert plan.pruned.timing is not None
    assert [stage.name for stage in plan.pruned.timing.stages] == (
        [
            "vision",
            "project",
            "gram",
            "segment_0",
            "prune_0",
            "segment_1",
            "prune_1",
            "segment_2",
            "prune_2",
            "segment_3",
        ]
    )
    encoder = make(request_7b(schedule=schedules.encoder(576, 32, 192)))
    assert encoder.pruned.timing is not None
    assert [(stage.name, stage.rows) for stage in encoder.pruned.timing.stages] == [
        ("vision", 576), ("project", 576), ("gram", 576), ("prune_0", 576), ("segment_0", 256),
    ]  # fmt: skip


def test_without_figures_there_are_no_times(request_7b: Callable[..., Request]) -> None:
    request = request_7b()
    unknown = replace(request.target, fp16_tflops=None)
    plan = make(replace(request, target=unknown))
    assert (plan.pruned.timing, plan.ttft_ratio) == (None, None)
    assert plan.to_json()["pruned"]["times"] is None
    assert any("no published compute" in line for line in plan.assumptions)


@pytest.mark.parametrize(
    ("fields", "error", "line"),
    [
        ({"context": 4097}, ScheduleError, "--max-context 4097 exceeds the checkpoint's 4096 positions"),
        (
            {"context": 591},
            ScheduleError,
            "leaves too little room for text beside 576 visual tokens; expected 592 to 4096",
        ),
        ({"text_tokens": 0}, PromptError, "--prompt-tokens 0 does not fit; expected 1 to 1471"),
        ({"text_tokens": 1472}, PromptError, "--prompt-tokens 1472 does not fit"),
        ({"target": targets.get("cpu"), "precision": "bf16"}, TargetError, "bf16 does not run on backend onnxruntime"),
        (
            {"target": targets.get("cpu"), "build_memory": GB},
            BackendError,
            "builds no engines: drop --max-build-memory",
        ),
        ({"build_memory": 2 * GB}, BackendError, "and cannot be cut finer; give at least 2.3"),
    ],
)
def test_what_could_not_be_built_is_not_planned(
    request_7b: Callable[..., Request], fields: dict[str, object], error: type[Exception], line: str
) -> None:
    with pytest.raises(error) as refused:
        make(replace(request_7b(), **fields))  # type: ignore[arg-type]
    assert line in str(refused.value)


def test_more_tokens_than_a_selection_handles() -> None:
    side = 130  # patches, of which a selection takes the square of 128
    vision = {**LLAVA_7B["vision_config"], "image_size": 14 * side}
    text = {**LLAVA_7B["text_config"], "max_position_embeddings": 32768}
    shape = describe({**LLAVA_7B, "vision_config": vision, "text_config": text}, "config.json", "x")
    request = Request(shape, targets.get("h200"), schedules.encoder(side**2, 32, 1000), "fp16", 20000)
    with pytest.raises(ScheduleError, match=r"16384.*16900.*--prune-at no"):
        make(request)
    assert make(replace(request, schedule=schedules.none(side**2, 32))).pruned.memory.fits


def test_more_tokens_kept_than_an_engine_selects() -> None:
    vision = {**LLAVA_7B["vision_config"], "image_size": 14 * 64}
    text = {**LLAVA_7B["text_config"], "max_position_embeddings": 8192}
    shape = describe({**LLAVA_7B, "vision_config": vision, "text_config": text}, "config.json", "x")
    many, most = (schedules.given(4096, 32, (keep,), (3,)) for keep in (3841, 3840))
    request = Request(shape, targets.get("h200"), most, "fp16", 8192)
    assert make(request).pruned.memory.fits
    with pytest.raises(TargetError, match=r"keeps 3841.*3840 at most"):
        make(replace(request, schedule=many))
    make(Request(shape, targets.get("cpu"), many, "fp16", 8192, machine=MACHINE))


def test_no_graphics_card_is_advised_for_a_machine(request_7b: Callable[..., Request]) -> None:
    plan = make(request_7b("cpu", machine=MACHINE))
    assert not plan.pruned.memory.fits
    assert advise(plan) == ["--quantize int8"]


def test_thor_multiplies_weights_of_4_bits_slower_than_those_of_8(request_7b: Callable[..., Request]) -> None:
    """A quarter of its peak with floats and integers of 8 bits, a tenth with 4 bits; an Orin the same with both."""

    def prefill(target: str, scheme: str) -> float:
        request = request_7b(target)
        timing = make(replace(request, model=request.model.rounded(parse(scheme)))).pruned.timing
        assert timing is not None
        return sum(stage.seconds for stage in timing.stages if stage.name.startswith("segment"))

    assert math.isclose(prefill("thor", "int4") / prefill("thor", "int8"), 2.5, rel_tol=1e-6)
    assert math.isclose(prefill("orin-agx-64", "int4"), prefill("orin-agx-64", "int8"))


def test_few_rows_take_as_long_as_a_tile_of_them(request_7b: Callable[..., Request]) -> None:
    """The last segment has 17 visual tokens, and fewer text tokens than a tile has room for."""

    def last(text_tokens: int) -> roofline.Stage:
        timing = make(request_7b(schedule=schedules.solve(576, 32, 64), text_tokens=text_tokens)).pruned.timing
        assert timing is not None
        return timing.stages[-1]

    assert (last(20).rows, last(79).rows) == (37, 96)
    assert math.isclose(last(20).seconds, last(79).seconds, rel_tol=1e-6)
    assert last(80).seconds > last(79).seconds


def test_advice_on_a_nano(request_7b: Callable[..., Request]) -> None:
    assert advise(make(request_7b("orin-nano-8"))) == ["--quantize int4", "--target orin-agx-32"]
    assert advise(make(request_7b("orin-nano-8", precision="fp32"))) == [
        "--precision fp16 --quantize int4",
        "--target orin-agx-64",
        "--precision fp16 --target orin-agx-32",
    ]
    assert advise(make(request_7b())) == []


def test_where_only_the_build_is_too_large_a_finer_cut_is_advised() -> None:
    shape = describe(LLAVA_13B, "config.json", "x")
    request = Request(shape, targets.get("orin-agx-32"), schedules.solve(576, 40, 192), "fp16", 2048)
    plan = make(request)
    assert plan.pruned.memory.runs
    assert not plan.pruned.memory.builds
    assert advise(plan)[0] == "--max-build-memory 32.3"
    finer = make(replace(request, build_memory=round(32.3e9))).pruned
    assert finer.memory.fits
    assert finer.memory.build is not None
    assert finer.memory.build.peak <= 32.3e9
    assert [(cut.first, cut.last) for cut in finer.cuts] == [(0, 3), (4, 8), (9, 19), (20, 35), (36, 39)]


@given(
    size=st.sampled_from([LLAVA_7B, LLAVA_13B]),
    target=st.sampled_from([name for name in targets.TARGETS if name != "cpu"]),
    precision=st.sampled_from(["fp32", "fp16"]),
    context=st.sampled_from([800, 2048, 4096]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_advice_fits(size: dict[str, object], target: str, precision: str, context: int) -> None:
    shape = describe(size, "config.json", "x")
    schedule = schedules.solve(576, shape.decoder.layers, 192)
    request = Request(shape, targets.get(target), schedule, precision, context)
    for line in advise(make(request)):
        words = line.split()
        given = dict(zip(words[::2], words[1::2], strict=True))
        budget = int(given.get("--budget", 192))
        model = replace(shape, quantization=parse(given.get("--quantize", "none")))
        changed = replace(
            request,
            model=model,
            precision=given.get("--precision", precision),
            target=targets.get(given.get("--target", target)),
            context=int(given.get("--max-context", context)),
            schedule=schedules.solve(576, shape.decoder.layers, budget),
            build_memory=round(float(given["--max-build-memory"]) * 1e9) if "--max-build-memory" in given else None,
        )
        assert changed != request
        assert make(changed).pruned.memory.fits, line


def test_longest_context_that_fits(llava_7b: Description) -> None:
    """A machine whose memory is just short of the whole context."""
    schedule = schedules.none(576, 32)
    whole = Request(llava_7b, targets.get("cpu"), schedule, "fp32", 4096, machine=MACHINE)
    needed = make(whole).pruned.memory.needed
    small = Machine(MACHINE.flops, MACHINE.bandwidth, needed + GB - 1)
    (advice,) = [line for line in advise(make(replace(whole, machine=small))) if "context" in line]
    assert advice == "--max-context 4095"


def test_slots_are_so_many_caches(request_7b: Callable[..., Request]) -> None:
    """And as many as fit do fit, where one more does not; pruning buys some of them."""
    one = make(request_7b())
    four = make(request_7b(slots=4))
    assert four.pruned.memory.caches == {name: 4 * size for name, size in one.pruned.memory.caches.items()}
    assert four.pruned.memory.needed - one.pruned.memory.needed == 3 * sum(one.pruned.memory.caches.values())
    most, unpruned = one.pruned.memory.slots_that_fit, one.unpruned.memory.slots_that_fit
    assert most is not None
    assert unpruned is not None
    assert most == four.pruned.memory.slots_that_fit
    assert make(request_7b(slots=most)).pruned.memory.runs
    assert not make(request_7b(slots=most + 1)).pruned.memory.runs
    assert one.slots_bought == most - unpruned > 0


def test_where_weights_do_not_fit_no_slot_does(request_7b: Callable[..., Request]) -> None:
    assert make(request_7b("orin-nano-8")).pruned.memory.slots_that_fit == 0
