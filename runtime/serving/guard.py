"""What stands before every route: the key, the size of what is sent, and how many send at a time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from fastapi.responses import JSONResponse

from clasp_trt.runtime.serving import problem
from clasp_trt.runtime.serving.life import Life
from clasp_trt.runtime.serving.meters import Meters
from clasp_trt.runtime.serving.problem import Problem
from clasp_trt.runtime.serving.settings import Settings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCKED = ("/v1/", "/metrics")
"""Paths that ask for the key."""
ASKING = ("/v1/chat/", "/v1/clasp/")
"""Where requests are counted, and not taken once the server is about to end."""
CODE = "clasp_trt.code"
"""In the scope of a request: what it is counted as, where that is not the status of its response."""


class Guard:
    """An ASGI application around ``app``. Nothing of a request without the key is read."""

    def __init__(self, app: App, settings: Settings, life: Life, meters: Meters) -> None:
        self._app, self._settings, self._life, self._meters = app, settings, life, meters
        self._key = None if settings.key is None else _digest(settings.key.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        if not scope["path"].startswith(ASKING):
            return await self._pass(scope, receive, send)

        async def seen(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope.setdefault(CODE, message["status"])
            with suppress(OSError):  # of a socket that was closed; whoever waits for that is told as well
                await send(message)

        self._life.enter()
        try:
            await self._pass(scope, receive, seen)
        finally:
            self._life.leave()
            self._meters.requests.labels(str(scope.get(CODE, 500))).inc()

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(scope)
        except Problem as refused:
            return await answer(refused)(scope, receive, send)
        await self._app(scope, _Bounded(receive, self._settings.max_body), send)

    def _may_ask(self, header: bytes) -> bool:
        """Whether a header brings the key, told in a time that says nothing of it: what is compared has one length."""
        if self._key is None:
            return True
        scheme, _, token = header.partition(b" ")
        return hmac.compare_digest(self._key, _digest(token.strip())) and scheme.lower() == b"bearer"

    def _check(self, scope: Scope) -> None:
        headers, path = dict(scope["headers"]), scope["path"]
        if path.startswith(LOCKED) and not self._may_ask(headers.get(b"authorization", b"")):
            raise problem.unauthorized()
        if path.startswith(ASKING):
            self._life.check()
            if self._life.open > self._settings.max_open:
                raise problem.busy()
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self._settings.max_body:
            raise problem.too_large("the request", self._settings.max_body)


def answer(refused: Problem) -> JSONResponse:
    """The response that says so."""
    return JSONResponse(refused.body, refused.status, refused.headers)


class _Bounded:
    """What is received, counted: a body that does not say its size is bounded too."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._limit, self._size = receive, limit, 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            raise problem.too_large("the request", self._limit)
        return message


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
