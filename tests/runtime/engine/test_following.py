"""What a server needs of an engine: events without a thread that waits, and signs of life."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.errors import BackendError, RequestError
from clasp_trt.runtime.engine import Engine, Request, open_engine
from clasp_trt.runtime.event import Event

QUESTION = "How many cups are there?"


@pytest.fixture(scope="module")
def bundle(built: Callable[..., Bundle]) -> Bundle:
    return built()


@pytest.fixture
def engine(bundle: Bundle) -> Iterator[Engine]:
    with open_engine(bundle.root, slots=2, threads=1) as opened:
        yield opened


async def followed(request: Request) -> list[Event]:
    return [event async for event in request]


def test_coroutines_see_what_threads_see(engine: Engine) -> None:
    """Many at once, in one thread, from wherever they begin."""

    async def all_of(requests: list[Request]) -> list[list[Event]]:
        return await asyncio.gather(*map(followed, requests))

    before = threading.active_count()
    requests = [engine.submit(None, QUESTION, max_new_tokens=9, ignore_stop=True) for _ in range(5)]
    found = asyncio.run(all_of(requests))
    assert threading.active_count() == before
    assert [len(events) for events in found] == [9] * 5
    assert found == [list(request) for request in requests]
    assert asyncio.run(all_of(requests[:1])) == found[:1], "also when all is said"
    assert not any(request._followers for request in requests)


def test_who_leaves_a_loop_is_forgotten(engine: Engine) -> None:
    """In the middle of an answer, which goes on, and whose loop is closed before it ends."""
    request = engine.submit(None, QUESTION, max_new_tokens=40, ignore_stop=True)

    async def some() -> None:
        async with aclosing(request.__aiter__()) as events:
            async for _ in events:
                break

    asyncio.run(some())
    assert request._followers == []
    assert len(request.result.token_ids) == 40


def test_coroutines_hear_of_the_end(engine: Engine) -> None:
    def broken(tokens: Any) -> Any:
        raise BackendError("the GPU is on fire")

    engine._steps.decoder.step = broken  # type: ignore[method-assign]
    request = engine.submit(None, QUESTION, max_new_tokens=9, ignore_stop=True)
    with pytest.raises(BackendError, match="on fire"):
        asyncio.run(followed(request))
    assert isinstance(engine.failure, BackendError)


def test_an_engine_that_was_closed_did_not_fail(bundle: Bundle) -> None:
    with open_engine(bundle.root, threads=1) as engine:
        request = engine.submit(None, QUESTION, max_new_tokens=40, ignore_stop=True)
        assert engine.failure is None
    with pytest.raises(RequestError):
        asyncio.run(followed(request))
    assert engine.failure is None


def test_silence_is_told_while_there_is_something_to_do(engine: Engine) -> None:
    step, go_on, stuck = engine._steps.decoder.step, threading.Event(), threading.Event()

    def sticking(tokens: Any) -> Any:
        stuck.set()
        go_on.wait(10)
        return step(tokens)

    assert engine.silent_s == 0
    engine._steps.decoder.step = sticking  # type: ignore[method-assign]
    request = engine.submit(None, QUESTION, max_new_tokens=3, ignore_stop=True)
    assert stuck.wait(10)
    time.sleep(0.05)
    assert 0.05 <= engine.silent_s < 5
    go_on.set()
    assert len(request.result.token_ids) == 3
    while engine.answering:
        time.sleep(0.001)
    assert engine.silent_s == 0


def test_reading_a_request_is_work_too(engine: Engine) -> None:
    draft, go_on, reading = engine._steps.draft, threading.Event(), threading.Event()

    def slow(*given: Any) -> Any:
        reading.set()
        go_on.wait(10)
        return draft(*given)

    engine._steps.draft = slow  # type: ignore[method-assign]
    asking = threading.Thread(target=lambda: engine.submit(None, QUESTION, max_new_tokens=1))
    asking.start()
    assert reading.wait(10)
    time.sleep(0.02)
    assert engine.silent_s >= 0.02
    go_on.set()
    asking.join()


def test_it_is_told_who_has_begun(bundle: Bundle) -> None:
    with open_engine(bundle.root, slots=1, threads=1) as engine:
        step, go_on = engine._steps.decoder.step, threading.Event()

        def waiting(tokens: Any) -> Any:
            go_on.wait(10)
            return step(tokens)

        engine._steps.decoder.step = waiting  # type: ignore[method-assign]
        first, second = (engine.submit(None, QUESTION, max_new_tokens=2, ignore_stop=True) for _ in range(2))
        next(iter(first))
        assert (first.begun, second.begun) == (True, False)
        go_on.set()
        assert second.result.token_ids
        assert second.begun
