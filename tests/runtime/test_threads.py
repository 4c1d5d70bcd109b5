"""Several threads on one pipeline: answers are right, or an error of ours; nothing hangs, and closed is closed."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.errors import BackendError, RequestError
from clasp_trt.runtime import turns
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.runtime.routing.router import Route

QUESTIONS = ("How many cups?", "What colour is it?", "What does the sign say?")
MANY = 8


@pytest.fixture(scope="module")
def bundle(built: Callable[..., Bundle]) -> Bundle:
    return built()


@pytest.fixture
def pipe(bundle: Bundle) -> Iterator[Pipeline]:
    with load(bundle.root, threads=1) as pipeline:
        yield pipeline


@pytest.fixture(scope="module")
def expected(bundle: Bundle) -> dict[str, tuple[int, ...]]:
    with load(bundle.root, threads=1) as pipeline:
        return {question: ask(pipeline, question) for question in QUESTIONS}


def ask(pipe: Pipeline, question: str) -> tuple[int, ...]:
    return pipe.generate(None, question, max_new_tokens=MANY, ignore_stop=True).token_ids


def stream(pipe: Pipeline, question: str) -> tuple[int, ...]:
    answer = pipe.stream(None, question, max_new_tokens=MANY, ignore_stop=True)
    list(answer)
    return answer.result.token_ids


@pytest.mark.parametrize("how", [ask, stream])
def test_every_answer_is_right(pipe: Pipeline, expected: dict[str, Any], how: Callable[..., Any]) -> None:
    wanted = [QUESTIONS[n % 3] for n in range(18)]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda question: how(pipe, question), wanted)) == [expected[each] for each in wanted]


def test_a_stream_keeps_its_turn_while_it_is_read(pipe: Pipeline, expected: dict[str, Any]) -> None:
    answer = pipe.stream(None, QUESTIONS[0], max_new_tokens=MANY, ignore_stop=True)
    next(answer)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(ask, pipe, QUESTIONS[1])
        time.sleep(0.05)
        assert not other.done()
        assert answer.result.token_ids == expected[QUESTIONS[0]]
        assert other.result() == expected[QUESTIONS[1]]


def test_a_stream_that_is_left_holds_nobody_up_for_ever(
    pipe: Pipeline, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "PATIENCE_S", 0.1)
    answer = pipe.stream(None, QUESTIONS[0], max_new_tokens=MANY, ignore_stop=True)
    next(answer)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(ask, pipe, QUESTIONS[1]).result() == expected[QUESTIONS[1]]
    for _ in range(2):
        with pytest.raises(RequestError, match="another request took over"):
            next(answer)


@pytest.mark.parametrize("end", ["closed", "dropped"])
def test_a_stream_that_is_over_gives_its_turn_back(pipe: Pipeline, expected: dict[str, Any], end: str) -> None:
    answer: Any = pipe.stream(None, QUESTIONS[0], max_new_tokens=MANY, ignore_stop=True)
    next(answer)
    if end == "closed":
        answer.close()
        assert list(answer) == []
        with pytest.raises(RequestError, match="no result"):
            _ = answer.result
    answer = None
    gc.collect()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(ask, pipe, QUESTIONS[1]).result(timeout=turns.PATIENCE_S / 2) == expected[QUESTIONS[1]]


def test_one_stream_may_be_read_by_several_threads(pipe: Pipeline, expected: dict[str, Any]) -> None:
    answer = pipe.stream(None, QUESTIONS[0], max_new_tokens=MANY, ignore_stop=True)
    with ThreadPoolExecutor(4) as pool:
        pieces = [*pool.map(lambda _: list(answer), range(4))]
    assert answer.result.token_ids == expected[QUESTIONS[0]]
    assert sorted(piece for each in pieces for piece in each)


def test_a_picture_may_be_encoded_between_two_pieces(
    pipe: Pipeline, expected: dict[str, Any], photos: dict[str, Path]
) -> None:
    answer = pipe.stream(None, QUESTIONS[0], max_new_tokens=MANY, ignore_stop=True)
    next(answer)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(pipe.encode, photos["coffee"]).result()
    assert answer.result.token_ids == expected[QUESTIONS[0]]


class Nosy:
    """A router that asks the pipeline itself."""

    pipe: Pipeline | None = None

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def route(self, prompt: str) -> Route:
        assert self.pipe is not None
        self.pipe.generate(None, "Which category?", max_new_tokens=1)
        raise AssertionError


def test_a_request_within_a_request_is_refused_and_does_not_hang(bundle: Bundle) -> None:
    router = Nosy(tuple(category.name for category in bundle.policy.categories))
    with load(bundle.root, threads=1, router=router) as pipe:
        router.pipe = pipe
        with pytest.raises(RequestError, match="same thread"):
            pipe.generate(None, QUESTIONS[0])


# --- close --------------------------------------------------------------------------------------------------


def test_closing_ends_the_answers_of_other_threads(pipe: Pipeline) -> None:
    begun = threading.Event()

    def long() -> int:
        answer = pipe.stream(None, "Hi", max_new_tokens=70, ignore_stop=True)
        count = 0
        for _ in answer:
            begun.set()
            count += 1
        return count

    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(long) for _ in range(3)]
        assert begun.wait(60)
        pipe.close()
        for answer in answers:
            with pytest.raises(BackendError, match="closed"):
                answer.result()


def test_closing_waits_for_the_step_that_is_computed(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    computing, steps = threading.Event(), list[str]()
    step = pipe._steps.decoder.step

    def slow(*given: Any) -> Any:
        computing.set()
        time.sleep(0.2)
        found = step(*given)
        steps.append("step")
        return found

    release = pipe._steps.backend.close
    monkeypatch.setattr(pipe._steps.decoder, "step", slow)
    monkeypatch.setattr(pipe._steps.backend, "close", lambda: (steps.append("close"), release()))
    with ThreadPoolExecutor(3) as pool:
        answer = pool.submit(ask, pipe, QUESTIONS[0])
        assert computing.wait(60)
        for closing in [pool.submit(pipe.close) for _ in range(2)]:
            closing.result()
        with pytest.raises(BackendError, match="closed"):
            answer.result()
    assert steps == ["step", "close"]


def test_every_use_after_closing_says_so(bundle: Bundle, photos: dict[str, Path]) -> None:
    pipe = load(bundle.root, threads=1)
    other, answer = pipe.variant(), pipe.stream(None, QUESTIONS[0], max_new_tokens=4)
    next(answer)
    pipe.close()
    uses: list[Callable[[], object]] = [
        lambda: next(answer),
        lambda: pipe.generate(None, QUESTIONS[0]),
        lambda: next(pipe.stream(None, QUESTIONS[0])),
        lambda: pipe.encode(photos["coffee"]),
        lambda: pipe.route(QUESTIONS[0]),
        lambda: other.generate(None, QUESTIONS[0]),
        lambda: other.route(QUESTIONS[0]),
    ]
    for use in uses:
        with pytest.raises(BackendError, match="closed"):
            use()
    answer.close()
    pipe.close()
    other.close()


def test_closing_gives_back_caches_and_the_routers_session(bundle: Bundle) -> None:
    pipe = load(bundle.root, threads=1)
    ask(pipe, QUESTIONS[0])
    router: Any = pipe._manner.router
    held = [weakref.ref(cache) for segment in pipe._steps.decoder._caches.whole for cache in segment.values()]
    held.append(weakref.ref(router._session))
    pipe.close()
    gc.collect()
    assert [each() for each in held] == [None] * len(held)
    with pytest.raises(BackendError, match="closed"):
        router.route("What does the sign say?")


def test_a_router_of_ones_own_is_not_closed(bundle: Bundle) -> None:
    class Own(Nosy):
        closed = False

        def close(self) -> None:
            self.closed = True

    router = Own(tuple(category.name for category in bundle.policy.categories))
    load(bundle.root, threads=1, router=router).close()
    assert not router.closed
