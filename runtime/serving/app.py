"""The routes of the server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

import clasp_trt
from clasp_trt.runtime.event import Event
from clasp_trt.runtime.serving import bodies, problem
from clasp_trt.runtime.serving.bodies import Bodies
from clasp_trt.runtime.serving.call import Call
from clasp_trt.runtime.serving.guard import Guard, Receive, Scope, Send, answer
from clasp_trt.runtime.serving.house import House, Served
from clasp_trt.runtime.serving.problem import Problem
from clasp_trt.runtime.serving.settings import Settings
from clasp_trt.runtime.serving.wire import ChatRequest, read

_DECODERS = 2
"""Pictures that are decoded at a time."""
_EVENTS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_log = logging.getLogger(__name__)


def application(house: House, settings: Settings, routers: Sequence[APIRouter] = ()) -> FastAPI:
    """The server of ``house`` as an ASGI application, with the routes of ``routers`` besides its own.

    ``house`` and ``settings`` are in its ``state``, for routers. It starts nothing before it is started, and leaves the
    engines open when it ends.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        with ThreadPoolExecutor(_DECODERS, "clasp-trt requests") as app.state.pool:
            yield

    app = FastAPI(title="clasp-trt", version=clasp_trt.__version__, lifespan=life, docs_url=None, redoc_url=None)
    app.openapi_url = None
    app.state.house, app.state.settings = house, settings
    app.add_middleware(Guard, settings=settings)
    app.include_router(router)
    for each in routers:
        app.include_router(each)
    app.add_exception_handler(Problem, _refused)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _broken)
    return app


router = APIRouter()


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
        call = Call(asked, served, state.settings, request.receive)
    except BaseException:
        served.leave()
        raise
    try:
        first = await call.begin(state.pool)
        if asked.stream:
            return _Stream(call, asked, served, first)  # which closes the call
        events = [first, *[event async for event in call.rest()]]
        assert call.request is not None, "it has begun"
        result = call.request.result
        made = Bodies(served, logprobs=bool(asked.logprobs))
        told = bodies.told(served, result, asked.clasp.method, indices=asked.clasp.indices)
        response = JSONResponse(made.whole(result, events, told))
    except BaseException:
        await _close(call, served)
        raise
    await _close(call, served)
    return response


class _Stream(Response):
    """The answer in server-sent events; the first is there already."""

    def __init__(self, call: Call, asked: ChatRequest, served: Served, first: Event) -> None:
        super().__init__(None, 200, _EVENTS)
        del self.headers["content-length"]
        self._call, self._asked, self._served, self._first = call, asked, served, first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with aclosing(self._lines()) as lines:
                async for line in lines:
                    await send({"type": "http.response.body", "body": line, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await _close(self._call, self._served)

    async def _lines(self) -> AsyncGenerator[bytes, None]:
        asked, served = self._asked, self._served
        made = Bodies(served, logprobs=bool(asked.logprobs))
        try:
            yield bodies.line(made.first())
            if (piece := made.piece(self._first)) is not None:
                yield bodies.line(piece)
            async for event in self._call.rest():
                if (piece := made.piece(event)) is not None:
                    yield bodies.line(piece)
        except Problem as ended:
            if ended.status != 499:  # there is somebody to be told
                yield bodies.line(ended.body)
            return
        assert self._call.request is not None, "it has begun"
        result = self._call.request.result
        told = bodies.told(served, result, asked.clasp.method, indices=asked.clasp.indices)
        yield bodies.line(made.last(result, told))
        if asked.stream_options is not None and asked.stream_options.include_usage:
            yield bodies.line(made.used(result))
        yield bodies.DONE


async def _close(call: Call, served: Served) -> None:
    served.leave()
    await call.close()


async def _body(request: Request, settings: Settings) -> bytes:
    try:
        return await asyncio.wait_for(request.body(), settings.body_timeout)
    except asyncio.TimeoutError:
        raise problem.too_slow(settings.body_timeout) from None


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
