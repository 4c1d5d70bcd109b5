"""A server asked within its process says the same as over a socket, and hears when nobody listens any more."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest

from clasp_trt.runtime.serving.app import application
from clasp_trt.runtime.serving.cluster.inside import Head, answered
from clasp_trt.runtime.serving.house import House
from clasp_trt.runtime.serving.settings import Settings
from tests.runtime.serving.conftest import body

JSON = [("Content-Type", "application/json")]


@pytest.mark.parametrize("stream", [False, True])
def test_the_same_is_said(house: House, picture: str, stream: bool) -> None:
    asked = body("What is it?", picture, stream=stream)

    async def both() -> tuple[Head, bytes, httpx2.Response]:
        app = application(house, Settings())
        async with app.router.lifespan_context(app):
            head, *pieces = [
                piece async for piece in answered(app, "POST", "/v1/chat/completions", JSON, json.dumps(asked).encode())
            ]
            transport = httpx2.ASGITransport(app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://server") as client:
                other = await client.post("/v1/chat/completions", json=asked)
        assert isinstance(head, Head)
        return head, b"".join(piece for piece in pieces if isinstance(piece, bytes)), other

    head, text, other = asyncio.run(both())
    assert (head.status, head.streams) == (other.status_code, stream)
    assert dict(head.headers)["content-type"] == other.headers["content-type"]
    assert _words(text, stream) == _words(other.content, stream)


def _words(text: bytes, stream: bool) -> str:
    if not stream:
        return str(json.loads(text)["choices"][0]["message"]["content"])
    events = [json.loads(each[6:]) for each in text.split(b"\n\n") if each and not each.endswith(b"[DONE]")]
    return "".join(each["choices"][0]["delta"].get("content", "") for each in events if each["choices"])


def test_who_leaves_is_noticed() -> None:
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        heard.append((await receive())["type"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        heard.append((await receive())["type"])

    async def leave() -> None:
        pieces = answered(app, "GET", "/", [], b"")
        assert [await anext(pieces), await anext(pieces)] == [Head(200, ()), b"first"]
        await pieces.aclose()

    asyncio.run(asyncio.wait_for(leave(), 10))
    assert heard == ["http.request", "http.disconnect"]


def test_what_the_application_raises_comes_out() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("ours")

    async def ask() -> None:
        async for _ in answered(app, "GET", "/", [], b""):
            pass

    with pytest.raises(ValueError, match="ours"):
        asyncio.run(ask())
