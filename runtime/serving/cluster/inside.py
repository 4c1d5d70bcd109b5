"""A request to an ASGI application within the process, and its answer piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

from clasp_trt.runtime.serving.guard import App

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Head:
    """How an answer begins. ``repeatable`` says that the same request would be answered by the same words again."""

    status: int
    headers: tuple[tuple[str, str], ...]
    repeatable: bool = False

    @property
    def streams(self) -> bool:
        """Whether events follow, one by one."""
        return any(name == "content-type" and value.startswith("text/event-stream") for name, value in self.headers)


async def answered(
    app: App, method: str, path: str, headers: Headers, body: bytes, *, repeatable: bool = False
) -> AsyncGenerator[Head | bytes, None]:
    """The head of what ``app`` answers, then the pieces of its body. Who closes this early has gone away, and the
    application is told so. Raises what the application raises."""
    said: asyncio.Queue[Head | bytes | None] = asyncio.Queue()
    gone, asked = asyncio.Event(), False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            told = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"])
            said.put_nowait(Head(message["status"], told, repeatable))
        elif message.get("body"):
            said.put_nowait(message["body"])

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "client": None, "server": None,
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
    }  # fmt: skip
    running = asyncio.ensure_future(app(scope, receive, send))
    running.add_done_callback(lambda _: said.put_nowait(None))
    try:
        while (piece := await said.get()) is not None:
            yield piece
        await running
    finally:
        gone.set()
        if not running.done():
            await asyncio.wait({running})
