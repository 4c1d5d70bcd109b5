"""A small model that was trained, its bundle, and servers of it inside the test's own process."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.runtime.engine import Engine, open_engine
from clasp_trt.runtime.serving.app import application
from clasp_trt.runtime.serving.house import House
from clasp_trt.runtime.serving.settings import Settings

NAME = "tiny"
SLOTS, QUEUE = 2, 3


@pytest.fixture(scope="module")
def bundle(built: Callable[..., Bundle]) -> Bundle:
    return built()


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> Iterator[Engine]:
    with open_engine(bundle.root, slots=SLOTS, queue=QUEUE, threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def house(engine: Engine) -> House:
    return House([engine], NAME)


@pytest.fixture(scope="session")
def picture(photos: dict[str, Path]) -> str:
    """A photograph as a client sends it."""
    return data_url(photos["coffee"])


def data_url(path: Path) -> str:
    return f"data:image/{path.suffix[1:]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def said(text: str, *pictures: str) -> list[dict[str, Any]]:
    """One message of a user's, with pictures."""
    shown = [{"type": "image_url", "image_url": {"url": url}} for url in pictures]
    return [{"role": "user", "content": [*shown, {"type": "text", "text": text}]}]


def body(text: str = "How many cups?", *pictures: str, **more: Any) -> dict[str, Any]:
    return {"model": NAME, "messages": said(text, *pictures), "max_tokens": 4, **more}


@asynccontextmanager
async def client(house: House, settings: Settings | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a server in this loop, without a socket."""
    app = application(house, settings or Settings())
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://server") as opened:
            yield opened


@pytest.fixture
def ask(house: House) -> Callable[..., httpx2.Response]:
    """``ask(body)``: what the server answers to one request."""

    def asked(given: Any, settings: Settings | None = None, **more: Any) -> httpx2.Response:
        async def once() -> httpx2.Response:
            async with client(house, settings) as opened:
                sent = {"json": given} if isinstance(given, dict) else {"content": given}
                return await opened.post("/v1/chat/completions", **sent, **more)

        return asyncio.run(once())

    return asked
