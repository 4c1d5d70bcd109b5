"""Bundles take turns; what they give is complete; processes end with their reason."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.errors import BackendError, PromptError
from clasp_trt.tools.profile import Options, Report, Workload, profile
from clasp_trt.tools.profile.measure import take_turns
from clasp_trt.tools.profile.sample import Sample
from clasp_trt.tools.profile.worker import Job, Worker
from tests.tools.profile.conftest import NEW_TOKENS, RUNS
from tests.tools.profile.samples import sample

Ask = Callable[[Bundle], Workload]


class Counting:
    """Answers with ever later samples, and keeps the order."""

    def __init__(self, name: str, heard: list[str]) -> None:
        self._name, self._heard = name, heard

    def run(self) -> Sample:
        self._heard.append(self._name)
        return sample([("route", 1.0)], [{"embed": 1.0}], start=float(len(self._heard)))


def test_bundles_take_turns_and_warm_up_first() -> None:
    heard: list[str] = []
    said: list[tuple[str, int, int]] = []
    taken = take_turns(
        [Counting("a", heard), Counting("b", heard)], 3, 2, lambda phase, done, total: said.append((phase, done, total))
    )
    assert "".join(heard) == "ab" * 5
    assert [[each.start for each in samples] for samples in taken] == [[5, 7, 9], [6, 8, 10]]
    assert said[0] == ("warm up", 0, 10)
    assert said[4] == ("measure", 4, 10)
    assert said[-1] == ("measure", 10, 10)


def test_every_run_is_of_one_length_and_one_prompt(report: Report) -> None:
    for each in report.measurements:
        assert [len(one.steps) for one in each.samples] == [NEW_TOKENS - 1] * RUNS
        assert {(one.category, one.visual_tokens) for one in each.samples} == {("counting", 16)}
        assert len({one.prompt_tokens for one in each.samples}) == 1


def test_requests_of_the_bundles_do_not_overlap(report: Report) -> None:
    both = sorted((one.start, one.end) for each in report.measurements for one in each.samples)
    assert all(before[1] < after[0] for before, after in pairwise(both))


def test_pruned_stages_are_the_first_ones_alone(report: Report) -> None:
    first, second = report.measurements
    assert {"prune", "prune/gram", "prune/prune_2", "prefill/segment_3"} <= first.rows.keys()
    assert "prune" not in second.rows
    (ratios,) = report.comparisons
    assert {"prefill", "ttft", "decode", "tpot", "answer"} <= ratios.keys()
    assert "prune" not in ratios
    assert ratios["ttft"].value == first.summaries["ttft"].median / second.summaries["ttft"].median


def test_memory_is_that_of_a_process_of_its_own(report: Report) -> None:
    for each in report.measurements:
        memory = each.memory
        assert memory["libraries"] < memory["loaded"] <= memory["peak"]
        assert memory["libraries"] < memory["steady"] <= memory["peak"]


def test_json_holds_it_all(report: Report) -> None:
    told = report.to_json(samples=True)
    assert (told["runs"], told["warmup"], told["new_tokens"]) == (RUNS, 1, NEW_TOKENS)
    first = told["bundles"][0]
    assert first["times_ms"]["ttft"].keys() == {"median", "p90", "p99"}
    assert first["samples_ms"].keys() == first["times_ms"].keys()
    assert np.shape(first["samples_ms"]["decode"]) == (RUNS, NEW_TOKENS - 1)
    assert first["layers"]["nodes"][0].keys() == {"graph", "phase", "name", "op", "shape", "milliseconds"}
    assert "samples_ms" not in report.to_json()["bundles"][0]
    assert told["comparisons"][0]["ratios"]["ttft"]["beyond_noise"] is None, "three runs cannot tell"


@pytest.mark.full
def test_memory_does_not_grow(built: Callable[..., Bundle], question: Ask) -> None:
    bundle = built()
    with Worker(Job(bundle.root, question(bundle), 1, None)) as worker:
        resident = [worker.run().memory.resident for _ in range(200)]
    assert resident[-1] - resident[49] < 1 << 20, "less than the caches of one request in a hundred"


def test_stop_tokens_do_not_end_an_answer(built: Callable[..., Bundle], question: Ask) -> None:
    """A bundle whose every token is a stop token."""
    from clasp_trt.runtime.pipeline import load

    bundle = built()
    pipeline = load(bundle.root, threads=1)
    model = pipeline.bundle.manifest.model
    pipeline._steps._model = replace(model, stop_token_ids=tuple(range(model.decoder.vocab_size)))
    asked = question(bundle)
    stopped = pipeline.generate(asked.images, asked.prompt, max_new_tokens=4)
    assert (stopped.finish_reason, len(stopped.token_ids)) == ("stop", 1)
    whole = pipeline.generate(asked.images, asked.prompt, max_new_tokens=4, ignore_stop=True)
    assert (whole.finish_reason, len(whole.token_ids)) == ("length", 4)


def test_answer_that_the_context_has_no_room_for(built: Callable[..., Bundle], question: Ask) -> None:
    bundle = built()
    with pytest.raises(PromptError, match=r"\d+.*99"):
        profile([bundle], replace(question(bundle), new_tokens=99), Options(1, 0))


def test_bundle_of_another_backend_is_refused_before_any_process(
    built: Callable[..., Bundle], question: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clasp_trt.tools.profile.measure.Worker", None)
    portable = built(target=None)
    with pytest.raises(BackendError, match="is a bundle for backend portable, which this runtime cannot run"):
        profile([built(), portable], question(portable))


def test_process_that_the_system_kills(built: Callable[..., Bundle], question: Ask) -> None:
    bundle = built()
    with Worker(Job(bundle.root, question(bundle), 1, None)) as worker:
        os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(BackendError, match="was killed, as the system does when memory runs out") as error:
            worker.run()
    assert "\n" not in str(error.value)


def test_process_ends_with_the_channel(built: Callable[..., Bundle], question: Ask) -> None:
    bundle = built()
    worker = Worker(Job(bundle.root, question(bundle), 1, None))
    worker.finish()
    assert worker._process.returncode == 0
