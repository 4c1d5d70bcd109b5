"""Requests that are answered together: each as if it were alone, and what is wrong with one is of no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.errors import (
    BackendError,
    BusyError,
    ClaspError,
    ImageError,
    MethodError,
    PromptError,
    RequestError,
    ShortageError,
)
from clasp_trt.methods import get
from clasp_trt.runtime.engine import Engine, Request, open_engine
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.runtime.result import Result
from clasp_trt.runtime.sampling import Sampling
from clasp_trt.speculation import MOST
from tests.mistakes import says
from tests.oneslot import one_slot

SLOTS = 4
QUESTION = "How many cups are there?"
LONG: dict[str, Any] = {"max_new_tokens": 40, "ignore_stop": True}


@pytest.fixture(scope="module")
def bundle(built: Callable[..., Bundle]) -> Bundle:
    return built()


@pytest.fixture(scope="module")
def cup(photos: dict[str, Path]) -> Path:
    return photos["coffee"]


@pytest.fixture(scope="module")
def alone(bundle: Bundle) -> Iterator[Pipeline]:
    with load(bundle.root, threads=1, image_cache_bytes=0, reuse_prompts=False) as pipe:
        yield pipe


@pytest.fixture
def engine(bundle: Bundle) -> Iterator[Engine]:
    with open_engine(bundle.root, slots=SLOTS, threads=1) as opened:
        yield opened


def same(found: Result, expected: Result) -> None:
    assert found.token_ids == expected.token_ids
    assert (found.text, found.finish_reason, found.category) == (
        expected.text,
        expected.finish_reason,
        expected.category,
    )
    assert [stage.indices.tolist() for stage in found.kept] == [stage.indices.tolist() for stage in expected.kept]


def begun(request: Request) -> Request:
    """The request, once its first token is there."""
    next(iter(request))
    return request


def gated(engine: Engine) -> threading.Semaphore:
    """Every step of ``engine`` takes one of it, so that nothing depends on how fast anybody is."""
    steps, step = threading.Semaphore(0), engine._steps.decoder.step

    def waiting(tokens: Any) -> Any:
        steps.acquire(timeout=10)
        return step(tokens)

    engine._steps.decoder.step = waiting  # type: ignore[method-assign]
    return steps


# --- answers ------------------------------------------------------------------------------------------------

METHODS = ("clasp", "random", "none")
PROMPTS = (
    "How many cups are there?",
    "Hi",
    "What does the sign say, and which colour is the door?",
    "Where?",
)


def _wishes(rng: np.random.Generator) -> dict[str, Any]:
    """A request of any kind."""
    draws = Sampling(temperature=float(rng.uniform(0.5, 2)), top_k=int(rng.integers(2, 40)), seed=int(rng.integers(99)))
    kinds: list[dict[str, Any]] = [
        {},  # greedy
        {"sampling": draws},
        {"sampling": Sampling(repetition_penalty=1.3)},
        {"choices": ["red", "blue", "a cup"], "ignore_stop": False},
        {"regex": "(cup ){5,9}", "ignore_stop": False},
    ]
    category = [None, "counting", "spatial relations"][rng.integers(3)]
    length, lookup = int(rng.integers(1, 24)), (None, 3, MOST)[rng.integers(3)]
    return {
        "max_new_tokens": length, "ignore_stop": True, "category": category, "logprobs": True, "lookup": lookup,
    } | kinds[rng.integers(len(kinds))]  # fmt: skip


def test_answers_are_those_of_a_request_alone(bundle: Bundle, alone: Pipeline, photos: dict[str, Path]) -> None:
    """Whatever else is asked meanwhile, and whoever leaves before or after: arrivals, lengths, methods, categories,
    settings, tokens that are proposed, pictures or none, and cancellations at any time."""
    rng, pictures = np.random.default_rng(5), [None, photos["coffee"], photos["chelsea"]]
    asked = [
        (pictures[rng.integers(3)], PROMPTS[rng.integers(4)], METHODS[rng.integers(3)], _wishes(rng)) for _ in range(32)
    ]
    leaves = {number: int(rng.integers(1, 9)) for number in range(32) if rng.random() < 0.3}
    requests: list[Request] = []
    with open_engine(bundle.root, slots=3, queue=40, threads=1) as engine:
        for picture, prompt, method, wishes in asked:
            requests.append(engine.submit(picture, prompt, method=method, **wishes))
            time.sleep(rng.choice([0.0, 0.0, 0.01]))
        for number, most in leaves.items():
            for seen, _ in enumerate(requests[number], 1):
                if seen == most:
                    requests[number].cancel()
        found = [request.result for request in requests]
    variants = {method: alone.variant(method=get(method)) for method in METHODS}
    for number, (result, (picture, prompt, method, wishes)) in enumerate(zip(found, asked, strict=True)):
        expected = variants[method].generate(picture, prompt, **{**wishes, "lookup": None})
        said = len(result.token_ids)
        if result.finish_reason == "cancelled":
            assert number in leaves
            assert result.token_ids == expected.token_ids[:said]
        else:
            same(result, expected)
        # four layers in float32, of which each may lose a few of 24 bits to another order of summation
        np.testing.assert_allclose(result.logprobs, expected.logprobs[:said], rtol=0, atol=1e-5)
    assert any(result.finish_reason == "cancelled" for result in found)
    assert any(result.reused_images for result in found)
    assert any(result.speculation and result.speculation.accepted for result in found)


def test_requests_do_go_on_together(engine: Engine, cup: Path) -> None:
    """In steps of as many rows as there are requests, of which none is in vain."""
    rows: list[int] = []
    steps, step = gated(engine), engine._steps.decoder.step

    def watched(tokens: Any) -> Any:
        rows.append(len(tokens))
        return step(tokens)

    engine._steps.decoder.step = watched  # type: ignore[method-assign]
    wanted = (40, 9, 3, 40, 40)
    requests = [engine.submit(cup, QUESTION, max_new_tokens=most, ignore_stop=True) for most in wanted]
    steps.release(200)
    assert [len(request.result.token_ids) for request in requests] == [*wanted]
    assert sum(rows) == sum(wanted) - len(wanted), "the prompt gives the first token"
    assert max(rows) == SLOTS


def test_who_joins_late_is_told_at_once(engine: Engine) -> None:
    steps = gated(engine)
    long = begun(engine.submit(None, QUESTION, **LONG))
    short = engine.submit(None, "Hi", max_new_tokens=2, ignore_stop=True)
    steps.release(2)  # one that may have begun before, and one of both
    assert len(short.result.token_ids) == 2
    assert not long.finished
    steps.release(99)
    assert list(long)[-1].finish_reason == "length"


def test_events_may_be_read_again_and_by_several(engine: Engine) -> None:
    request = engine.submit(None, QUESTION, max_new_tokens=5, ignore_stop=True)
    first, second = list(request), list(request)
    assert first == second
    assert tuple(event.token for event in first) == request.result.token_ids
    assert "".join(event.text for event in first) == request.result.text


def test_the_time_to_the_first_token_counts_the_wait(bundle: Bundle) -> None:
    with open_engine(bundle.root, slots=1, threads=1) as engine:
        steps = gated(engine)
        begun(engine.submit(None, QUESTION, **LONG))
        request = engine.submit(None, "Hi", max_new_tokens=1)
        steps.release(99)
        waited = request.result
    assert 0 < waited.timings_ms["queued"] < waited.timings_ms["ttft"]


def test_a_conversation(engine: Engine, alone: Pipeline, cup: Path) -> None:
    shown = [{"type": "image", "path": cup}, {"type": "text", "text": QUESTION}]
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": shown}]
    expected = alone.chat(talk, max_new_tokens=6)
    found = [engine.submit_chat(talk, max_new_tokens=6) for _ in range(6)]
    for request in found:
        same(request.result, expected)
    assert any(request.result.reused_tokens for request in found), "of a system message that a slot knows"


# --- mistakes and ends --------------------------------------------------------------------------------------


def test_what_is_wrong_is_said_at_once_and_takes_no_place(bundle: Bundle, cup: Path) -> None:
    with open_engine(bundle.root, slots=1, queue=0, threads=1) as engine:
        wrongs: list[tuple[type[ClaspError], Callable[[], object]]] = [
            (PromptError, lambda: engine.submit(cup, "word " * 200)),
            (PromptError, lambda: engine.submit(cup, QUESTION, max_new_tokens=0)),
            (PromptError, lambda: engine.submit(cup, 7)),  # type: ignore[arg-type]
            (ImageError, lambda: engine.submit("/nowhere.png", QUESTION)),
            (ImageError, lambda: engine.submit([cup, cup], QUESTION)),
            (MethodError, lambda: engine.submit(cup, QUESTION, method="magic")),
        ]
        for kind, wrong in wrongs:
            with pytest.raises(kind):
                wrong()
        assert engine.submit(cup, QUESTION, max_new_tokens=1).result.token_ids


def test_a_full_queue_is_said(bundle: Bundle) -> None:
    with open_engine(bundle.root, slots=1, queue=1, threads=1) as engine:
        steps = gated(engine)
        first = begun(engine.submit(None, QUESTION, **LONG))
        second = engine.submit(None, QUESTION, max_new_tokens=1, ignore_stop=True)
        with pytest.raises(BusyError) as error:
            engine.submit(None, QUESTION)
        says(error, 1, "wait")
        first.cancel()
        steps.release(99)
        assert (second.result.finish_reason, first.result.finish_reason) == ("length", "cancelled")
        assert engine.submit(None, QUESTION, max_new_tokens=1).result.token_ids


def test_who_waits_can_be_cancelled(bundle: Bundle) -> None:
    with open_engine(bundle.root, slots=1, queue=2, threads=1) as engine:
        steps = gated(engine)
        first = begun(engine.submit(None, QUESTION, **LONG))
        second = engine.submit(None, QUESTION)
        second.cancel()
        steps.release(1)
        assert (second.result.finish_reason, second.result.token_ids) == ("cancelled", ())
        assert not first.finished
        steps.release(99)


def test_a_deadline_that_raises_ends_its_request_alone(engine: Engine) -> None:
    def broken() -> bool:
        raise ValueError("no clock")

    other = begun(engine.submit(None, QUESTION, **LONG))
    with pytest.raises(ValueError, match="no clock"):
        _ = engine.submit(None, QUESTION, cancelled=broken).result
    assert other.result.finish_reason == "length"


def test_an_overflow_is_of_its_request_alone(engine: Engine, alone: Pipeline) -> None:
    """Also of those that have its slot later: nothing of it stays in the caches."""
    expected = alone.generate(None, QUESTION, **LONG)
    steps, spoil = engine._steps, threading.Event()
    prefill = steps.decoder.prefill

    def spoiled(*given: Any, **more: Any) -> Any:
        found = prefill(*given, **more)
        if spoil.is_set():
            slot = found[0].slot
            for segment in steps.decoder._caches.of(slot, slot + 1):
                for cache in segment.values():
                    steps.backend.write(cache, np.full_like(steps.backend.download(cache), np.nan))
        return found

    steps.decoder.prefill = spoiled  # type: ignore[method-assign]
    before = begun(engine.submit(None, QUESTION, **LONG))
    spoil.set()
    bad = engine.submit(None, QUESTION, **LONG)
    with pytest.raises(BackendError, match="overflowed"):
        _ = bad.result
    spoil.clear()
    after = [engine.submit(None, QUESTION, **LONG) for _ in range(3)]
    for request in (before, *after):
        same(request.result, expected)


def test_memory_that_a_prompt_lacks_is_its_own_matter(engine: Engine) -> None:
    begin, lacking = engine._steps.begin, threading.Event()

    def scarce(*given: Any) -> Any:
        if lacking.is_set():
            raise MemoryError
        return begin(*given)

    engine._steps.begin = scarce  # type: ignore[method-assign]
    other = begun(engine.submit(None, QUESTION, **LONG))
    lacking.set()
    with pytest.raises(ShortageError):
        _ = engine.submit(None, QUESTION).result
    assert other.result.finish_reason == "length"


def test_a_backend_that_fails_ends_all_and_closes(bundle: Bundle) -> None:
    engine = open_engine(bundle.root, slots=2, threads=1)
    step, failing = engine._steps.decoder.step, threading.Event()

    def broken(tokens: Any) -> Any:
        if failing.is_set():
            raise BackendError("the GPU is on fire")
        return step(tokens)

    engine._steps.decoder.step = broken  # type: ignore[method-assign]
    requests = [engine.submit(None, QUESTION, **LONG) for _ in range(4)]
    begun(requests[0])
    failing.set()
    for request in requests:
        with pytest.raises(BackendError) as error:
            _ = request.result
        says(error, "GPU is on fire")
    with pytest.raises(BackendError) as error:
        engine.submit(None, QUESTION)
    says(error, "GPU is on fire")
    engine.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_mistake_of_ours_is_heard_of(bundle: Bundle) -> None:
    """By those who wait, and by its trace."""
    engine = open_engine(bundle.root, slots=2, threads=1)
    engine._steps.decoder.step = None  # type: ignore[assignment, method-assign]
    request = engine.submit(None, QUESTION, **LONG)
    with pytest.raises(BackendError) as error:
        _ = request.result
    says(error, "TypeError")
    engine.close()


def test_closing_ends_what_is_under_way(bundle: Bundle) -> None:
    engine = open_engine(bundle.root, slots=1, threads=1)
    steps = gated(engine)
    requests = [engine.submit(None, QUESTION, **LONG) for _ in range(3)]
    events = iter(requests[0])
    next(events)
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(engine.close)
        while not engine._closing:
            time.sleep(0.001)
        steps.release(99)
        closing.result()
    for request in requests:
        with pytest.raises(RequestError) as error:
            _ = request.result
        says(error, "closed")
    with pytest.raises(RequestError):
        list(events)
    lates: list[Callable[[], object]] = [lambda: engine.submit(None, QUESTION), lambda: engine._steps.backend.memory]
    for late in lates:
        with pytest.raises(BackendError):
            late()
    engine.close()


def test_closing_can_finish_what_was_taken(bundle: Bundle, alone: Pipeline) -> None:
    engine = open_engine(bundle.root, slots=1, threads=1)
    requests = [engine.submit(None, QUESTION, **LONG) for _ in range(3)]
    engine.close(finish=True)
    expected = alone.generate(None, QUESTION, **LONG)
    for request in requests:
        same(request.result, expected)


def test_many_threads_may_ask(bundle: Bundle, alone: Pipeline, cup: Path) -> None:
    expected = alone.generate(cup, QUESTION, max_new_tokens=8)
    with open_engine(bundle.root, slots=SLOTS, threads=1) as engine, ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(lambda: engine.submit(cup, QUESTION, max_new_tokens=8).result) for _ in range(12)]
        for each in asked:
            same(each.result(), expected)


# --- slots --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [0, True, "4"])
def test_slots_that_are_no_number(bundle: Bundle, wrong: Any) -> None:
    with pytest.raises(BackendError) as error:
        open_engine(bundle.root, slots=wrong)
    says(error, "slots", repr(wrong))


def test_a_queue_that_is_no_number(bundle: Bundle) -> None:
    with pytest.raises(RequestError) as error:
        open_engine(bundle.root, queue=-1)
    says(error, "queue", -1)


def test_a_bundle_says_how_many_slots(built: Callable[..., Bundle], bundle: Bundle) -> None:
    with open_engine(bundle.root, threads=1) as engine:
        assert engine.slots == 1
    with open_engine(built(slots=3).root, threads=1) as engine:
        assert engine.slots == 3


def test_graphs_from_before_slots_answer_one_by_one(bundle: Bundle, alone: Pipeline, tmp_path: Path) -> None:
    old = one_slot(bundle.root, tmp_path / "old")
    with pytest.raises(BackendError) as error:
        open_engine(old, slots=2)
    says(error, "one request at a time")
    with open_engine(old, threads=1) as engine:
        requests = [engine.submit(None, QUESTION, max_new_tokens=5) for _ in range(2)]
        for request in requests:
            same(request.result, alone.generate(None, QUESTION, max_new_tokens=5))
