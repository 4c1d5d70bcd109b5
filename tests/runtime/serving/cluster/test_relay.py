"""An answer is whole although its replica was lost, or the client is told so: never twice, never in silence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from clasp_trt.runtime.serving.cluster.inside import Head
from clasp_trt.runtime.serving.cluster.relay import Pieces, relayed, repeatable
from tests.mistakes import says

EVENTS = (("content-type", "text/event-stream; charset=utf-8"),)
DONE = b"data: [DONE]\n\n"


class LostError(Exception):
    """A replica is gone."""


def chunk(text: str, run: int) -> bytes:
    body = {"id": f"run {run}", "created": run, "choices": [{"delta": {"content": text}}]}
    return f"data: {json.dumps(body)}\n\n".encode()


def stream(*texts: str, run: int, ends: bool = True, repeats: bool = True) -> list[object]:
    """The pieces of a stream; one that does not end is lost there."""
    said = [Head(200, EVENTS, repeats), *(chunk(text, run) for text in texts)]
    return [*said, DONE] if ends else [*said, LostError("gone")]


def sender(runs: Sequence[Sequence[object]], closed: list[int]) -> Callable[[], Pieces]:
    """Each call sends what the next of ``runs`` says; which were closed is noted."""
    left = iter(enumerate(runs))

    async def send(number: int, run: Sequence[object]) -> Pieces:
        try:
            for piece in run:
                if isinstance(piece, Exception):
                    raise piece
                assert isinstance(piece, (Head, bytes))
                yield piece
        finally:
            closed.append(number)

    return lambda: send(*next(left))


def told(*runs: Sequence[object], attempts: int = 3) -> tuple[Head, list[bytes]]:
    """Head and pieces of what a client hears."""
    closed: list[int] = []

    async def listen() -> list[Head | bytes]:
        return [piece async for piece in relayed(sender(runs, closed), LostError, attempts)]

    head, *pieces = asyncio.run(listen())
    assert isinstance(head, Head)
    assert closed == list(range(len(closed)))
    return head, [piece for piece in pieces if isinstance(piece, bytes)]


def words(pieces: Sequence[bytes]) -> list[Any]:
    return [json.loads(each[6:])["choices"][0]["delta"]["content"] for each in pieces if each != DONE]


def error(piece: bytes) -> Any:
    return json.loads(piece[6:])["error"]


def test_a_stream_goes_on_where_it_was() -> None:
    """Under the names of the first run, since a client may hold on to them."""
    _, pieces = told(stream("a", "b", run=1, ends=False), stream("a", "b", "c", "d", run=2))
    assert words(pieces) == ["a", "b", "c", "d"]
    assert pieces[-1] == DONE
    assert {json.loads(each[6:])["id"] for each in pieces[:-1]} == {"run 1"}
    assert {json.loads(each[6:])["created"] for each in pieces[:-1]} == {1}


def test_it_may_be_lost_more_than_once_and_anywhere() -> None:
    runs = [stream("a", run=1, ends=False), stream(run=2, ends=False), stream("a", "b", "c", run=3)]
    assert words(told(*runs)[1]) == ["a", "b", "c"]
    before_the_head: list[object] = [LostError("gone")]
    assert words(told(before_the_head, before_the_head, stream("a", run=3))[1]) == ["a"]


def test_what_is_drawn_is_not_asked_for_twice() -> None:
    _, pieces = told(stream("a", run=1, ends=False, repeats=False), stream("x", run=2))
    assert words(pieces[:1]) == ["a"]
    (last,) = pieces[1:]
    assert error(last)["code"] == "replica_lost"
    says(error(last)["message"], "LostError")


def test_what_is_drawn_is_asked_for_again_before_it_was_heard() -> None:
    _, pieces = told(stream(run=1, ends=False, repeats=False), stream("x", run=2, repeats=False))
    assert words(pieces) == ["x"]


@pytest.mark.parametrize("other", [("x", "b", "c"), ("a",)], ids=["other words", "a shorter answer"])
def test_another_answer_is_told_as_an_error(other: tuple[str, ...]) -> None:
    _, pieces = told(stream("a", "b", run=1, ends=False), stream(*other, run=2))
    assert words(pieces[:2]) == ["a", "b"]
    assert [error(each)["code"] for each in pieces[2:]] == ["replica_lost"]


def test_a_refusal_in_place_of_the_rest_is_an_error() -> None:
    refused: list[object] = [Head(503, (("content-type", "application/json"),)), b"{}"]
    _, pieces = told(stream("a", run=1, ends=False), refused)
    assert [error(each)["code"] for each in pieces[1:]] == ["replica_lost"]


def test_attempts_end() -> None:
    runs = [stream("a", run=number, ends=False) for number in range(9)]
    _, pieces = told(*runs, attempts=3)
    assert [error(each)["code"] for each in pieces[1:]] == ["replica_lost"]
    gone: list[object] = [LostError("gone")]
    with pytest.raises(LostError):
        told(gone, gone, gone)


def test_what_is_no_stream_comes_when_it_is_whole() -> None:
    head = Head(200, (("content-type", "application/json"),))
    assert told([head, b"half", LostError("gone")], [head, b"the ", b"whole"]) == (head, [b"the whole"])


def test_events_are_put_together_however_they_come() -> None:
    whole = chunk("a", 1) + chunk("b", 1) + DONE
    pieces = [whole[at : at + 7] for at in range(0, len(whole), 7)]
    assert words(told([Head(200, EVENTS, True), *pieces])[1]) == ["a", "b"]


def test_who_leaves_closes_what_was_sent() -> None:
    closed: list[int] = []

    async def leave() -> None:
        pieces = relayed(sender([stream("a", "b", run=1)], closed), LostError)
        await anext(pieces)
        await anext(pieces)
        await pieces.aclose()

    asyncio.run(leave())
    assert closed == [0]


@pytest.mark.parametrize(
    ("asked", "greedy", "again"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"temperature": 0}, False, True),
        ({"temperature": 0.0}, False, True),
        ({"temperature": 0.7}, True, False),
        ({"temperature": 0.7, "seed": 0}, False, True),
        ({"top_p": 0.9}, True, False),
        ({"top_k": 5, "seed": 7}, True, True),
        ([], True, False),
        (None, True, False),
    ],
    ids=str,
)
def test_which_answers_come_again(asked: Any, greedy: bool, again: bool) -> None:
    assert repeatable(json.dumps(asked).encode(), greedy=greedy) is again


def test_no_answer_to_no_request_comes_again() -> None:
    assert not repeatable(b"{", greedy=True)
