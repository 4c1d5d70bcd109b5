"""Whole requests on a null device, whose engines really compute: the same tokens as on the CPU, and no call that breaks
the contract of CUDA or TensorRT."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from clasp_trt.bundle import Bundle, Graph
from clasp_trt.chain import names
from clasp_trt.runtime.backends.ort import OrtBackend
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.runtime.result import Result
from clasp_trt.runtime.sampling import Sampling
from clasp_trt.speculation import MOST
from tests.oracle import Oracle
from tests.runtime.backends.cuda.conftest import Rig

pytestmark = pytest.mark.full  # CUDA on a null device

QUESTION = "How many cups are there?"
MANY = 24
Rigs = Callable[..., Rig]


@pytest.fixture(scope="module")
def cpu(compiled: Callable[..., Bundle]) -> Pipeline:
    return load(compiled().root, provider="cpu")


@pytest.fixture(scope="module")
def cup(photos: dict[str, Path]) -> Path:
    return photos["coffee"]


def _same(found: Result, expected: Result) -> None:
    assert found.token_ids == expected.token_ids
    assert found.finish_reason == expected.finish_reason
    assert len(found.kept) == len(expected.kept)
    for one, other in zip(found.kept, expected.kept, strict=True):
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_array_equal(one.is_pivot, other.is_pivot)


@pytest.mark.parametrize(("kv_block", "aliasing"), [(1, True), (8, False), (8, True), (256, True)])
def test_an_answer_is_that_of_the_cpu(rig: Rigs, cpu: Pipeline, cup: Path, kv_block: int, aliasing: bool) -> None:
    here = rig(kv_block=kv_block, aliasing=aliasing)
    expected = cpu.generate(cup, QUESTION, max_new_tokens=MANY)
    assert len(set(expected.token_ids)) > MANY // 2, "else a step that changed nothing would pass"
    _same(here.pipeline.generate(cup, QUESTION, max_new_tokens=MANY), expected)


@pytest.mark.parametrize(
    "options",
    [{"prune_at": "none"}, {"prune_at": "encoder"}, {"precision": "fp16"}],
    ids=lambda o: "-".join(o.values()),
)
def test_every_kind_of_bundle(rig: Rigs, compiled: Callable[..., Bundle], cup: Path, options: dict[str, str]) -> None:
    expected = load(compiled(**options).root, provider="cpu").generate(cup, QUESTION, max_new_tokens=12)
    _same(rig(compiled(**options)).pipeline.generate(cup, QUESTION, max_new_tokens=12), expected)


class Rounding(OrtBackend):
    """Graphs of fp32 on the CPU, whose outputs are rounded to bfloat16 where those of ``like`` are bfloat16."""

    def __init__(self, like: Bundle) -> None:
        super().__init__(1)
        self._like = like

    def load_graph(self, path: Path, graph: Graph) -> Any:
        run = super().load_graph(path, graph)
        rounded = {port.name for port in self._like.graph(graph.name).outputs if port.dtype == "bfloat16"}

        def run_and_round(inputs: Mapping[str, Any], into: Mapping[str, Any]) -> dict[str, Any]:
            found = run(inputs, into)
            for name, value in (*found.items(), *into.items()):
                if name in rounded:
                    value.update_inplace(value.numpy().astype(ml_dtypes.bfloat16).astype(np.float32))
            return found

        return run_and_round


@pytest.mark.parametrize(("kv_block", "aliasing"), [(1, True), (256, False)])
def test_bfloat16(rig: Rigs, compiled: Callable[..., Bundle], cup: Path, kv_block: int, aliasing: bool) -> None:
    """Hidden states, caches and visual tokens of two bytes, which no one but the engines looks into."""
    bundle, exact = compiled(precision="bf16"), compiled()
    reference = Pipeline(exact, Rounding(bundle))
    here = rig(bundle, computes=exact, kv_block=kv_block, aliasing=aliasing)
    _same(
        here.pipeline.generate(cup, QUESTION, max_new_tokens=MANY, ignore_stop=True),
        reference.generate(cup, QUESTION, max_new_tokens=MANY, ignore_stop=True),
    )


def test_text_alone(rig: Rigs, cpu: Pipeline) -> None:
    here = rig(kv_block=16).pipeline
    for prompt in ("Say hello.", "Hi", QUESTION):
        _same(here.generate(None, prompt, max_new_tokens=20), cpu.generate(None, prompt, max_new_tokens=20))


def test_an_answer_to_the_last_slot(rig: Rigs, cpu: Pipeline, cup: Path) -> None:
    here = rig(kv_block=16).pipeline
    for image in (cup, None):
        expected = cpu.generate(image, QUESTION, max_new_tokens=96, ignore_stop=True)
        assert expected.finish_reason == "context"
        _same(here.generate(image, QUESTION, max_new_tokens=96, ignore_stop=True), expected)


def test_a_greedy_answer_with_a_penalty_sees_the_logits(rig: Rigs, cpu: Pipeline, cup: Path) -> None:
    here, sampling = rig().pipeline, Sampling(repetition_penalty=1.6)
    expected = cpu.generate(cup, QUESTION, max_new_tokens=12, sampling=sampling)
    assert expected.token_ids != cpu.generate(cup, QUESTION, max_new_tokens=12).token_ids
    _same(here.generate(cup, QUESTION, max_new_tokens=12, sampling=sampling), expected)


def test_sampling_sees_the_logits(rig: Rigs, cpu: Pipeline, cup: Path) -> None:
    here = rig().pipeline
    for seed in range(3):
        sampling = Sampling(temperature=1.3, top_p=0.9, seed=seed)
        expected = cpu.generate(cup, QUESTION, max_new_tokens=12, sampling=sampling)
        _same(here.generate(cup, QUESTION, max_new_tokens=12, sampling=sampling), expected)


@pytest.mark.parametrize("name", ["fastv", "divprune", "clasp-fixed"])
def test_methods_that_choose_on_the_host(rig: Rigs, cpu: Pipeline, cup: Path, name: str) -> None:
    from clasp_trt.methods import METHODS

    found, expected = (
        pipeline.variant(method=METHODS[name]).generate(cup, QUESTION, max_new_tokens=6)
        for pipeline in (rig().pipeline, cpu)
    )
    _same(found, expected)


def test_encoded_images_last_from_request_to_request(rig: Rigs, cpu: Pipeline, photos: dict[str, Path]) -> None:
    here = rig().pipeline
    encoded = {name: here.encode(photos[name]) for name in ("coffee", "chelsea")}
    for _ in range(2):
        for name, image in encoded.items():
            expected = cpu.generate(photos[name], QUESTION, max_new_tokens=5)
            _same(here.generate(image, QUESTION, max_new_tokens=5), expected)


def test_a_bundle_from_before_the_greedy_graph(
    rig: Rigs, compiled: Callable[..., Bundle], cpu: Pipeline, cup: Path
) -> None:
    bundle = compiled()
    graphs = tuple(graph for graph in bundle.manifest.graphs if graph.name != names.GREEDY)
    assert len(graphs) < len(bundle.manifest.graphs)
    here = rig(Bundle(bundle.root, replace(bundle.manifest, graphs=graphs)))
    _same(here.pipeline.generate(cup, QUESTION, max_new_tokens=8), cpu.generate(cup, QUESTION, max_new_tokens=8))
    assert "run greedy" not in here.cuda.log.events


# --- what a request asks of the device ----------------------------------------------------------------------


def test_the_host_waits_once_everything_is_asked_for(rig: Rigs, cup: Path) -> None:
    """From the image to the scores of the first token nothing comes back."""
    here = rig()
    here.pipeline.generate(cup, QUESTION, max_new_tokens=1)
    events = here.cuda.log.events
    first = events.index("wait")
    ran = [event for event in events[:first] if event.startswith("run ")]
    assert ran == [
        "run vision", "run projector", "run embed", "run gram",
        "run segment_0", "run prune_0", "run segment_1", "run prune_1", "run segment_2", "run prune_2", "run segment_3",
        "run greedy",
    ]  # fmt: skip
    assert not any(event.startswith("run ") for event in events[first:])


def test_a_step_is_one_launch_and_one_number(rig: Rigs, cup: Path) -> None:
    here = rig()
    answer = here.pipeline.stream(cup, QUESTION, max_new_tokens=MANY)
    log = here.cuda.log
    seen: list[tuple[int, int]] = []
    steps = here.pipeline._steps.decoder.step

    def watched(*arguments: object) -> object:
        seen.append((len(log.events), log.bytes_out))
        return steps(*arguments)  # type: ignore[arg-type]

    here.pipeline._steps.decoder.step = watched  # type: ignore[method-assign, assignment]
    assert len(answer.result.token_ids) == MANY
    for (start, before), (end, after) in pairwise(seen[1:]):
        events = log.events[start:end]
        assert [event for event in events if event != "copy_in"] == ["launch", "copy_out", "wait"]
        assert after - before == 8, "bytes of a token"
        assert events.count("copy_in") == 2 + 4, "token, position, and the place in each segment's cache"
    assert len(here.backend.device.recordings) == 1


def test_steps_run_under_the_profile_that_is_tuned_for_them(rig: Rigs, cup: Path) -> None:
    here = rig(timed=True)
    here.pipeline.generate(cup, QUESTION, max_new_tokens=3)
    asked = here.trt.runs.index(("greedy", "request"))
    assert {profile for graph, profile in here.trt.runs[:asked] if graph.startswith(("embed", "seg"))} == {"prefill"}
    assert {profile for graph, profile in here.trt.runs[asked:] if graph != "greedy"} == {"decode"}


def test_a_recording_for_each_block_of_slots(rig: Rigs, cup: Path) -> None:
    here = rig(kv_block=16)
    result = here.pipeline.generate(cup, QUESTION, max_new_tokens=MANY, ignore_stop=True)
    room = 96 - result.prompt_tokens  # of which each step takes one, counted from the end
    blocks = {(room - step - 1) // 16 for step in range(MANY - 1)}
    assert len(here.backend.device.recordings) == len(blocks) > 1
    # a second request of another length meets the same blocks
    launched = here.cuda.log.events.count("launch")
    longer = here.pipeline.generate(cup, QUESTION + " Count them all.", max_new_tokens=8, ignore_stop=True)
    assert len(longer.token_ids) == 8
    assert len(here.backend.device.recordings) == len(blocks)
    assert here.cuda.log.events.count("launch") == launched + 7


def test_a_recording_for_each_number_of_rows(
    rig: Rigs, cpu: Pipeline, cup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 1, 2, 4 and 8, whatever is proposed; a token a row comes to the host."""
    expected = cpu.generate(cup, QUESTION, max_new_tokens=MANY, ignore_stop=True)
    monkeypatch.setattr("clasp_trt.runtime.steps.Lookup", lambda prompt, most: Oracle(expected.token_ids, 3))
    here = rig(kv_block=256)
    asked: list[tuple[int, int]] = []
    steps = here.pipeline._steps.decoder.step

    def watched(tokens: Mapping[object, list[int]]) -> object:
        asked.append((max(map(len, tokens.values())), here.cuda.log.bytes_out))
        return steps(tokens)  # type: ignore[arg-type]

    here.pipeline._steps.decoder.step = watched  # type: ignore[method-assign, assignment]
    answer = here.pipeline.stream(cup, QUESTION, max_new_tokens=MANY, ignore_stop=True, lookup=MOST)
    _same(answer.result, expected)
    rounded = [1 << (rows - 1).bit_length() for rows, _ in asked]
    assert [after - before for (_, before), (_, after) in pairwise(asked)] == [8 * rows for rows in rounded[:-1]]
    assert len(here.backend.device.recordings) == len({*rounded}) > 1


def test_requests_one_after_another_take_no_more(rig: Rigs, cpu: Pipeline, photos: dict[str, Path]) -> None:
    here = rig()
    prompts = [QUESTION, "What colour is the cup, and what does it stand on?", "Hi", "Where was this taken?"]

    def ask() -> None:
        for name in ("coffee", "chelsea"):
            for prompt in prompts:
                expected = cpu.generate(photos[name], prompt, max_new_tokens=6)
                _same(here.pipeline.generate(photos[name], prompt, max_new_tokens=6), expected)
        _same(here.pipeline.generate(None, "Hi", max_new_tokens=6), cpu.generate(None, "Hi", max_new_tokens=6))

    here.pipeline.generate(photos["coffee"], QUESTION, max_new_tokens=3)
    here.pipeline.generate(None, QUESTION, max_new_tokens=3)
    size, pinned, calls = here.cuda.allocated, here.cuda.pinned, here.cuda.log.allocations
    contexts = len(here.trt.alive)
    for _ in range(2):
        ask()
    assert (here.cuda.allocated, here.cuda.pinned, here.cuda.log.allocations) == (size, pinned, calls)
    assert len(here.trt.alive) == contexts


def test_results_are_allocated_when_the_bundle_is_loaded(rig: Rigs, cup: Path) -> None:
    """What a request adds are a few small blocks for what comes from the host, and those of its recording."""
    here = rig()
    before = here.backend.device.pool.allocated
    here.pipeline.generate(cup, QUESTION, max_new_tokens=4)
    grain = 1 << 16
    assert before > 20 * grain
    assert here.backend.device.pool.allocated - before <= 24 * grain


def test_caches_take_twice_the_memory_of_a_segment_only_if_they_must(rig: Rigs, cup: Path) -> None:
    for aliasing in (True, False):
        here = rig(aliasing=aliasing)
        here.pipeline.generate(cup, QUESTION, max_new_tokens=4)
        assert ("copy" in here.cuda.log.events) is not aliasing


def test_timed_runs_wait_for_each_graph(rig: Rigs, cpu: Pipeline, cup: Path) -> None:
    here = rig(timed=True)
    _same(here.pipeline.generate(cup, QUESTION, max_new_tokens=6), cpu.generate(cup, QUESTION, max_new_tokens=6))
    events = here.cuda.log.events
    assert "launch" not in events
    for number, event in enumerate(events):
        if event.startswith("run "):
            assert events[number + 1] == "wait"


def test_a_request_from_another_thread(rig: Rigs, cpu: Pipeline, cup: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    here = rig().pipeline
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(here.generate, cup, QUESTION, max_new_tokens=4).result()
    _same(found, cpu.generate(cup, QUESTION, max_new_tokens=4))


# --- TensorRT for RTX ---------------------------------------------------------------------------------------


def test_rtx_has_kernels_of_their_own_for_recorded_steps(
    rig: Rigs, compiled: Callable[..., Bundle], cpu: Pipeline, cup: Path
) -> None:
    here = rig(compiled("tensorrt-rtx"))
    _same(here.pipeline.generate(cup, QUESTION, max_new_tokens=6), cpu.generate(cup, QUESTION, max_new_tokens=6))
    assert here.trt.eager == 6, "embedding, four segments and the choice"
    assert here.cuda.log.events.count("launch") == 4


def test_what_cannot_be_recorded_runs_as_it_is_and_says_so(
    rig: Rigs, compiled: Callable[..., Bundle], cpu: Pipeline, cup: Path
) -> None:
    here = rig(compiled("tensorrt-rtx"), capturable=False)
    with pytest.warns(UserWarning, match="one CUDA graph"):
        found = here.pipeline.generate(cup, QUESTION, max_new_tokens=6)
    _same(found, cpu.generate(cup, QUESTION, max_new_tokens=6))
    assert "launch" not in here.cuda.log.events


def test_a_capture_that_fails_loses_nothing(rig: Rigs, cpu: Pipeline, cup: Path) -> None:
    here = rig()
    here.cuda.fail["cuGraphInstantiate"] = "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"
    with pytest.warns(UserWarning, match="preparing a recorded step"):
        found = here.pipeline.generate(cup, QUESTION, max_new_tokens=6)
    _same(found, cpu.generate(cup, QUESTION, max_new_tokens=6))
