"""What becomes of an answer whose replica is lost: it is asked for again, and goes on where it was, if that is certain.

As long as nothing was sent, anybody may ask again. A stream that has begun goes on only if the same words come again,
as those of greedy and of seeded answers do: what was sent is skipped, and compared on the way. Otherwise the stream
ends in an error event. What is no stream is passed on when it is whole.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from clasp_trt.runtime.serving.cluster.inside import Head

ATTEMPTS = 3
Pieces = AsyncGenerator[Head | bytes, None]
_DATA, _END = b"data: ", b"\n\n"


def repeatable(body: bytes, *, greedy: bool) -> bool:
    """Whether a request would be answered by the same words again, by a bundle that is ``greedy`` unless it is told
    otherwise: it draws no tokens, or names the seed that it draws them by."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return False
    if not isinstance(asked, dict):
        return False
    if asked.get("seed") is not None:
        return True
    temperature = asked.get("temperature")
    if temperature is None:
        return greedy and not any(asked.get(name) for name in ("top_p", "top_k", "min_p"))
    return bool(temperature == 0)


async def relayed(
    send: Callable[[], Pieces], lost: type[Exception] | tuple[type[Exception], ...], attempts: int = ATTEMPTS
) -> Pieces:
    """The answer to a request that ``send`` sends, however often a replica is ``lost`` on the way, within ``attempts``.

    Raises the last of ``lost`` if nothing was passed on.
    """
    passed = _Passed()
    for attempt in range(1, attempts + 1):
        try:
            async with aclosing(_once(send(), passed)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        except lost as error:
            if passed.head is None:
                if attempt == attempts:
                    raise
            elif attempt == attempts or not passed.head.repeatable:
                yield _broken(f"the server that answered is lost ({type(error).__name__}); ask again")
                return
        except _OtherwiseError:
            yield _broken("the server that answered is lost, and another one answers otherwise; ask again")
            return


class _OtherwiseError(Exception):
    """What comes again is not what was sent."""


class _Passed:
    """What was passed on of an answer."""

    def __init__(self) -> None:
        self.head: Head | None = None
        self.events: list[object] = []
        self.names: Mapping[str, object] = {}

    def same(self, number: int, event: bytes) -> bool:
        return self.events[number] == _meaning(event)

    def note(self, event: bytes) -> bytes:
        """The event as it is passed on: under the id of the first."""
        body = _body(event)
        self.events.append(_meaning(event))
        if body is None:
            return event
        if not self.names:
            self.names = {name: body[name] for name in ("id", "created") if name in body}
            return event
        if all(body.get(name) == value for name, value in self.names.items()):
            return event
        return _DATA + json.dumps({**body, **self.names}, ensure_ascii=False).encode() + _END


async def _once(pieces: Pieces, passed: _Passed) -> Pieces:
    async with aclosing(pieces):
        head = await anext(pieces)
        assert isinstance(head, Head), "an answer begins with its head"
        if not head.streams:
            if passed.head is not None:
                raise _OtherwiseError
            body = b"".join([piece async for piece in pieces if isinstance(piece, bytes)])
            passed.head = head
            yield head
            yield body
            return
        number = 0
        async for event in _events(pieces):
            if passed.head is None:
                passed.head = head
                yield head
            if number < len(passed.events):
                if not passed.same(number, event):
                    raise _OtherwiseError
            else:
                yield passed.note(event)
            number += 1
        if number < len(passed.events):
            raise _OtherwiseError


async def _events(pieces: AsyncIterator[Head | bytes]) -> AsyncIterator[bytes]:
    """The events of a stream, each whole, however its bytes come."""
    left = b""
    async for piece in pieces:
        assert isinstance(piece, bytes), "one head alone"
        *whole, left = (left + piece).split(_END)
        for event in whole:
            yield event + _END
    if left:
        yield left


def _body(event: bytes) -> dict[str, Any] | None:
    """The JSON of an event; None for one that has none, such as the end."""
    try:
        body = json.loads(event.removeprefix(_DATA))
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _meaning(event: bytes) -> object:
    """What must be the same when it comes again: names, times and speeds may differ."""
    body = _body(event)
    return event if body is None else (body.get("choices"), "error" in body)


def _broken(message: str) -> bytes:
    error = {"message": message, "type": "server_error", "param": None, "code": "replica_lost"}
    return _DATA + json.dumps({"error": error}).encode() + _END
