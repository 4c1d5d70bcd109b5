"""The routes of the server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.datastructures import State
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import clasp_trt
from clasp_trt.runtime.event import Event
from clasp_trt.runtime.serving import bodies, problem
from clasp_trt.runtime.serving.bodies import Bodies
from clasp_trt.runtime.serving.call import Call, Pools
from clasp_trt.runtime.serving.fetching import Fetcher
from clasp_trt.runtime.serving.guard import CODE, Guard, Receive, Scope, Send, answer
from clasp_trt.runtime.serving.house import House, Served
from clasp_trt.runtime.serving.life import Life
from clasp_trt.runtime.serving.meters import Meters
from clasp_trt.runtime.serving.problem import Problem
from clasp_trt.runtime.serving.settings import Settings
from clasp_trt.runtime.serving.wire import ChatRequest, read

_READERS, _FETCHERS = 2, 8
"""Requests whose pictures are decoded at a time, and pictures that are fetched at a time."""
_EVENTS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_log = logging.getLogger(__name__)


def application(house: House, settings: Settings, routers: Sequence[APIRouter] = ()) -> FastAPI:
    """The server of ``house`` as an ASGI application, with the routes of ``routers`` besides its own.

    ``house`` and ``settings`` are in its ``state``, for routers. It starts nothing before it is started, and leaves the
    engines open when it ends.
    """

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        reading = ThreadPoolExecutor(_READERS, "clasp-trt requests")
        fetching = ThreadPoolExecutor(_FETCHERS, "clasp-trt pictures")
        app.state.pools = Pools(reading, fetching, Fetcher(settings))
        try:
            yield
        finally:
            for pool in (reading, fetching):
                pool.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(title="clasp-trt", version=clasp_trt.__version__, lifespan=running, openapi_url=None)
    life = Life()
    meters = Meters(house, life)
    app.state.house, app.state.settings, app.state.life, app.state.meters = house, settings, life, meters
    app.add_middleware(Guard, settings=settings, life=life, meters=meters)
    app.include_router(router)
    for each in routers:
        app.include_router(each)
    app.add_exception_handler(Problem, _refused)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _broken)
    return app


router = APIRouter()


@router.get("/health")
async def health(request: Request) -> Response:
    """Whether every engine works, or has nothing to do: not that the server answers, which this answer says."""
    state = request.app.state
    broken = any(served.engine.failure is not None for served in state.house)
    silent = max((served.engine.silent_s for served in state.house), default=0.0)
    status = "broken" if broken else "stuck" if silent > state.settings.stuck_after else "ok"
    return JSONResponse({"status": status, "silent_s": round(silent, 3)}, 200 if status == "ok" else 503)


@router.get("/ready")
async def ready(request: Request) -> Response:
    """Whether requests are answered without delay: after the first answer of every engine, until the server ends."""
    life: Life = request.app.state.life
    status = "draining" if life.draining else "ready" if life.ready else "warming up"
    return JSONResponse({"status": status}, 200 if life.ready else 503)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """What was measured."""
    meters: Meters = request.app.state.meters
    return Response(meters.page(), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/models")
async def models(request: Request) -> dict[str, Any]:
    """What can be asked."""
    return {"object": "list", "data": [_model(name, of) for name, of in request.app.state.house.models.items()]}


@router.get("/v1/models/{name:path}")
async def model(name: str, request: Request) -> dict[str, Any]:
    """One of them."""
    house: House = request.app.state.house
    return _model(name, house.models[house.find(name, None).model])


@router.post("/v1/chat/completions")
async def chat(request: Request) -> Response:
    """Answers, at once or in pieces."""
    state = request.app.state
    asked = read(await _body(request, state.settings))
    served: Served = state.house.find(asked.model, asked.clasp.budget)
    served.admit()
    try:
        call = Call(asked, served, state.settings, state.life, request.receive)
    except BaseException:
        served.leave()
        raise
    try:
        first = await call.begin(state.pools)
        given = _Answer(call, asked, served, first, state)
        if asked.stream:
            return _Stream(given)  # which closes the call
        events = [event async for event in given.events()]
        response = JSONResponse(given.bodies.whole(call.result, events, await given.told()))
    except BaseException:
        await _close(call, served)
        raise
    await _close(call, served)
    return response


class _Answer:
    """An answer from its first event on, and what is measured of it."""

    def __init__(self, call: Call, asked: ChatRequest, served: Served, first: Event, state: State) -> None:
        self.call, self.asked, self.served, self._first = call, asked, served, first
        self._meters: Meters = state.meters
        self._pools: Pools = state.pools
        self.bodies = Bodies(served, logprobs=bool(asked.logprobs))
        self._began = call.seconds
        self._meters.began(served, self._began)

    async def events(self) -> AsyncGenerator[Event, None]:
        """All of them."""
        yield self._first
        async for event in self.call.rest():
            yield event
        self._meters.answered(self.served, self.call.result, self.call.seconds - self._began)

    async def told(self) -> bodies.Body:
        """How it came about."""
        extras, result, pictures = self.asked.clasp, self.call.result, self.call.pictures
        told = bodies.told(self.served, result, extras.method, indices=extras.indices)
        if pictures:
            draw = partial(bodies.drawn, self.served, result, extras.method, pictures)
            told["picture"] = await asyncio.get_running_loop().run_in_executor(self._pools.reading, draw)
        return told


class _Stream(Response):
    """The answer in server-sent events; the first is there already."""

    def __init__(self, answer: _Answer) -> None:
        super().__init__(None, 200, _EVENTS)
        del self.headers["content-length"]
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with aclosing(self._lines(scope)) as lines:
                async for line in lines:
                    await send({"type": "http.response.body", "body": line, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await _close(self._answer.call, self._answer.served)

    async def _lines(self, scope: Scope) -> AsyncGenerator[bytes, None]:
        answer, options = self._answer, self._answer.asked.stream_options
        try:
            yield bodies.line(answer.bodies.first())
            async for event in answer.events():
                if (piece := answer.bodies.piece(event)) is not None:
                    yield bodies.line(piece)
        except Problem as ended:
            scope[CODE] = ended.status
            yield bodies.line(ended.body)
            return
        yield bodies.line(answer.bodies.last(answer.call.result, await answer.told()))
        if options is not None and options.include_usage:
            yield bodies.line(answer.bodies.used(answer.call.result))
        yield bodies.DONE


async def _close(call: Call, served: Served) -> None:
    served.leave()
    await call.close()


async def _body(request: Request, settings: Settings) -> bytes:
    try:
        return await asyncio.wait_for(request.body(), settings.body_timeout)
    except asyncio.TimeoutError:
        raise problem.too_slow(settings.body_timeout) from None
    except ClientDisconnect:
        raise problem.gone() from None


def _model(name: str, served: Sequence[Served]) -> dict[str, Any]:
    budgets = [each.budget for each in served]
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "clasp-trt",
        "clasp": {"budgets": budgets, "categories": [each.name for each in served[0].engine.manner.policy.categories]},
    }


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    if error.status == 500 and error.__cause__ is not None:
        _log.error("a request could not be answered: %s", error.__cause__)
    return answer(error)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = f"{request.method} {request.url.path[:200]}: {error.detail}"
    return answer(Problem(error.status_code, text, code="unknown_url", headers=error.headers))


async def _broken(request: Request, error: Exception) -> Response:
    return answer(problem.of(error))
