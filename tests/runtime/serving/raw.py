"""A client below HTTP: it may be slow, stay, or leave whenever it likes."""

from __future__ import annotations

import asyncio
import json
from typing import Any


class Raw:
    """One request to an ASGI application, in the loop that runs; ``status`` and ``text`` are what came so far."""

    def __init__(self, app: Any, given: dict[str, Any], path: str = "/v1/chat/completions") -> None:
        self.status: int | None = None
        self.text = ""
        self._left = asyncio.Event()
        self._news = asyncio.Event()
        self._unsent = [{"type": "http.request", "body": json.dumps(given).encode(), "more_body": False}]
        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": path}
        scope |= {"raw_path": path.encode(), "query_string": b"", "headers": [], "scheme": "http", "root_path": ""}
        self.over = asyncio.ensure_future(app(scope, self._receive, self._send))

    def leave(self) -> None:
        """Closes the connection."""
        self._left.set()

    async def until(self, text: str) -> None:
        """Waits until ``text`` has come."""
        while text not in self.text:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 20)

    @property
    def body(self) -> Any:
        return json.loads(self.text)

    async def _receive(self) -> dict[str, Any]:
        if self._unsent:
            return self._unsent.pop()
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if self._left.is_set():
            raise OSError("the socket is closed")
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.text += message.get("body", b"").decode()
        self._news.set()
