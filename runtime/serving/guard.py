"""What stands before every route: the key, the size of what is sent, and how many send at a time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi.responses import JSONResponse

from clasp_trt.runtime.serving import problem
from clasp_trt.runtime.serving.problem import Problem
from clasp_trt.runtime.serving.settings import Settings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCKED = ("/v1/", "/metrics")
"""Paths that ask for the key."""


class Guard:
    """An ASGI application around ``app``. Nothing of a request without the key is read."""

    def __init__(self, app: App, settings: Settings) -> None:
        self._app, self._settings, self._open = app, settings, 0
        self._key = None if settings.key is None else _digest(settings.key.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        try:
            self._check(scope)
        except Problem as refused:
            return await answer(refused)(scope, receive, send)
        self._open += 1
        try:
            await self._app(scope, _Bounded(receive, self._settings.max_body), send)
        finally:
            self._open -= 1

    def _check(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        if scope["path"].startswith(LOCKED):
            if self._key is not None and not _same(self._key, headers.get(b"authorization", b"")):
                raise problem.unauthorized()
            if self._open >= self._settings.max_open:
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


def _same(key: bytes, header: bytes) -> bool:
    """Whether a header brings the key, in a time that tells nothing of it: what is compared is of one length."""
    scheme, _, token = header.partition(b" ")
    return hmac.compare_digest(key, _digest(token.strip())) and scheme.lower() == b"bearer"


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
