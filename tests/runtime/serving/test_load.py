"""More requests than are answered, requests that take too long, and clients that leave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.errors import BackendError
from clasp_trt.runtime.engine import Engine, open_engine
from clasp_trt.runtime.serving import problem
from clasp_trt.runtime.serving.app import application
from clasp_trt.runtime.serving.house import House
from clasp_trt.runtime.serving.life import BROKEN
from clasp_trt.runtime.serving.server import warm_up
from clasp_trt.runtime.serving.settings import Settings
from tests.runtime.serving.conftest import NAME, body
from tests.runtime.serving.raw import Raw

SLOTS, QUEUE = 1, 2
LONG = body(max_tokens=60, ignore_eos=True)
STREAM = {**LONG, "stream": True, "logprobs": True}  # with something to say for each token


class Gate:
    """Every step of an engine waits for it while it is shut."""

    def __init__(self, engine: Engine) -> None:
        self._open, step = threading.Event(), engine._steps.decoder.step
        self._open.set()
        self.failure: BaseException | None = None
        self.stands = threading.Event()

        def gated(tokens: Any) -> Any:
            if not self._open.is_set():
                self.stands.set()
            self._open.wait(20)
            if self.failure is not None:
                raise self.failure
            return step(tokens)

        engine._steps.decoder.step = gated  # type: ignore[method-assign]

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def engine(bundle: Bundle) -> Iterator[Engine]:
    with open_engine(bundle.root, slots=SLOTS, queue=QUEUE, threads=1) as opened:
        yield opened


@pytest.fixture
def gate(engine: Engine) -> Iterator[Gate]:
    made = Gate(engine)
    yield made
    made.open()


@asynccontextmanager
async def started(engine: Engine, **settings: Any) -> AsyncIterator[Any]:
    app = application(House([engine], NAME), Settings(**settings))
    async with app.router.lifespan_context(app):
        yield app


def running(engine: Engine, work: Callable[[Any], Awaitable[None]], **settings: Any) -> None:
    async def whole() -> None:
        async with started(engine, **settings) as app:
            await asyncio.wait_for(work(app), 40)
            await until(lambda: not engine.answering and not engine.waiting)
            assert [served.taken for served in app.state.house] == [0], "every place was given back"
            assert app.state.life.open == 0
            assert not app.state.life._stops

    asyncio.run(whole())


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(4000):
        if holds():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never was so")


async def meter(app: Any, line: str) -> float:
    page = app.state.meters.page().decode()
    (found,) = [each for each in page.splitlines() if each.startswith(line + " ")]
    return float(found.rpartition(" ")[2])


def test_overload_is_told_at_once(engine: Engine, gate: Gate) -> None:
    async def work(app: Any) -> None:
        gate.shut()
        taken = [Raw(app, LONG) for _ in range(SLOTS + QUEUE)]
        await until(lambda: engine.answering + engine.waiting == SLOTS + QUEUE)
        for _ in range(3):
            late = Raw(app, LONG)
            await asyncio.wait_for(late.over, 5)
            assert (late.status, late.body["error"]["code"]) == (429, "queue_full")
        assert (await meter(app, f'clasp_queue_length{{budget="8",model="{NAME}"}}')) == QUEUE
        assert (await meter(app, f'clasp_slots_used{{budget="8",model="{NAME}"}}')) == SLOTS
        gate.open()
        await asyncio.gather(*(each.over for each in taken))
        assert [each.status for each in taken] == [200] * len(taken)
        assert await meter(app, 'clasp_requests_total{code="429"}') == 3
        assert await meter(app, 'clasp_requests_total{code="200"}') == len(taken)

    running(engine, work)


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_is_forgotten(engine: Engine, gate: Gate, stream: bool) -> None:
    """In the middle of an answer, and while waiting; and the others go on."""

    async def work(app: Any) -> None:
        gate.shut()
        given = {**STREAM, "stream": stream}
        first, second, third = (Raw(app, given) for _ in range(3))
        await until(lambda: engine.waiting == 2)
        await asyncio.to_thread(gate.stands.wait, 10)
        second.leave()
        await asyncio.wait_for(second.over, 5)
        assert second.status in (None, 499), "nobody is there to be told"
        (place,) = app.state.house
        assert place.taken == 2, "its place is another's at once"
        first.leave()
        await asyncio.wait_for(first.over, 5)
        gate.open()
        await asyncio.wait_for(third.over, 20)
        assert third.status == 200
        assert await meter(app, 'clasp_requests_total{code="499"}') == 2

    running(engine, work)


def test_a_wait_has_an_end(engine: Engine, gate: Gate) -> None:
    async def work(app: Any) -> None:
        gate.shut()
        first = Raw(app, STREAM)
        await until(lambda: engine.answering == 1)
        second = Raw(app, LONG)
        await asyncio.wait_for(second.over, 5)
        assert (second.status, second.body["error"]["code"]) == (503, "queue_timeout")
        gate.open()
        await first.over
        assert first.text.endswith("data: [DONE]\n\n")

    running(engine, work, queue_timeout=0.3)


def test_an_answer_has_an_end(engine: Engine, gate: Gate) -> None:
    """Said with a status where there is one yet, else in the stream."""

    async def work(app: Any) -> None:
        gate.shut()
        stream, whole = Raw(app, STREAM), Raw(app, LONG)
        await asyncio.wait_for(asyncio.gather(stream.over, whole.over), 10)
        assert stream.status == 200
        *_, last, end = stream.text.split("\n\n")
        assert end == ""
        assert '"code": "timeout"' in last
        assert last.startswith('data: {"error"')
        assert (whole.status, whole.body["error"]["code"]) == (504, "timeout")
        assert await meter(app, 'clasp_requests_total{code="504"}') == 2
        gate.open()

    running(engine, work, request_timeout=0.5)


def test_a_body_that_does_not_come(engine: Engine) -> None:
    async def work(app: Any) -> None:
        slow = Raw(app, LONG)
        slow._unsent.clear()
        await asyncio.wait_for(slow.over, 5)
        assert slow.status == 408

    running(engine, work, body_timeout=0.1)


def test_only_so_many_are_read_at_a_time(engine: Engine) -> None:
    async def work(app: Any) -> None:
        slow = Raw(app, LONG)
        slow._unsent.clear()
        await until(lambda: app.state.life.open == 1)
        more = Raw(app, LONG)
        await asyncio.wait_for(more.over, 5)
        assert more.status == 429
        slow.leave()
        await slow.over

    running(engine, work, max_open=1)


def test_draining_answers_what_was_taken(engine: Engine, gate: Gate) -> None:
    async def work(app: Any) -> None:
        life = app.state.life
        await warm_up(app.state.house, life)
        assert life.ready
        gate.shut()
        streams = [Raw(app, STREAM) for _ in range(2)]
        await until(lambda: engine.waiting == 1)
        life.drain()
        late = Raw(app, LONG)
        await late.over
        assert (late.status, late.body["error"]["code"]) == (503, "draining")
        assert not life.ready
        assert not life.ended.is_set()
        gate.open()
        await asyncio.gather(*(each.over for each in streams))
        assert all(each.text.endswith("data: [DONE]\n\n") for each in streams)
        assert life.ended.is_set()

    running(engine, work)


def test_what_is_under_way_can_be_ended_too(engine: Engine, gate: Gate) -> None:
    async def work(app: Any) -> None:
        gate.shut()
        stream, waiting = Raw(app, STREAM), Raw(app, LONG)
        await until(lambda: engine.waiting == 1)
        app.state.life.stop(problem.leaving())
        await asyncio.wait_for(asyncio.gather(stream.over, waiting.over), 5)
        assert "draining" in stream.text  # in an event, or as the whole of an answer that had not begun
        assert waiting.status == 503
        gate.open()

    running(engine, work)


def test_a_backend_that_breaks(engine: Engine, gate: Gate) -> None:
    """Everybody hears of it, and nobody of what it said; the server is not healthy, and says so."""

    async def work(app: Any) -> None:
        gate.shut()
        stream, waiting = Raw(app, STREAM), Raw(app, LONG)
        await until(lambda: engine.waiting == 1)
        gate.failure = BackendError("the GPU at /dev/secret is on fire")
        gate.open()
        await asyncio.wait_for(asyncio.gather(stream.over, waiting.over), 10)
        assert '"code": "backend_error"' in stream.text
        assert waiting.status == 500
        assert "secret" not in stream.text + waiting.text
        late = Raw(app, LONG)
        await late.over
        assert late.status == 500
        health = await get(app, "/health")
        assert (health.status, health.body["status"]) == (503, "broken")
        await warm_up(app.state.house, app.state.life)
        assert app.state.life.exit_code == BROKEN

    running(engine, work)


def test_health_is_of_the_engine(engine: Engine, gate: Gate) -> None:
    async def work(app: Any) -> None:
        assert (await get(app, "/health")).status == 200
        assert (await get(app, "/ready")).body == {"status": "warming up"}
        gate.shut()
        stream = Raw(app, STREAM)
        await until(lambda: engine.silent_s > 0.2)
        health = await get(app, "/health")
        assert (health.status, health.body["status"]) == (503, "stuck")
        gate.open()
        await stream.over
        assert (await get(app, "/health")).status == 200

    running(engine, work, stuck_after=0.2)


async def get(app: Any, path: str) -> Raw:
    asked = Raw(_as_get(app), {}, path)
    await asked.over
    return asked


def _as_get(app: Any) -> Any:
    return lambda scope, receive, send: app({**scope, "method": "GET"}, receive, send)


def test_what_is_measured(engine: Engine) -> None:
    async def work(app: Any) -> None:
        asked = Raw(app, {**LONG, "max_tokens": 5, "clasp": {"category": "counting"}})
        await asked.over
        each = f'budget="8",model="{NAME}"'
        assert await meter(app, f"clasp_completion_tokens_total{{{each}}}") == 5
        assert await meter(app, f"clasp_prompt_tokens_total{{{each}}}") == asked.body["usage"]["prompt_tokens"]
        assert await meter(app, f"clasp_ttft_seconds_count{{{each}}}") == 1
        assert await meter(app, f"clasp_tpot_seconds_count{{{each}}}") == 1
        assert await meter(app, f"clasp_queue_seconds_count{{{each}}}") == 1
        counted = f'clasp_answers_total{{budget="8",category="counting",finish_reason="length",model="{NAME}"}}'
        assert await meter(app, counted) == 1

    running(engine, work)
