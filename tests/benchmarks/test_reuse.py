"""The benchmark of what is kept between requests: asked in turn, and the first round does not count."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from benchmarks.reuse import first_token_ms, messages


class Timed:
    def __init__(self, name: str, heard: list[str], times: list[float]) -> None:
        self._name, self._heard = name, heard
        self._times: Iterator[float] = iter(times)

    def chat(self, asked: list[dict[str, Any]], max_new_tokens: int) -> SimpleNamespace:
        assert [message["role"] for message in asked] == ["system", "user"]
        self._heard.append(self._name)
        return SimpleNamespace(timings_ms={"ttft": next(self._times)})


def test_pipelines_are_asked_in_turn_and_the_first_round_is_left_out() -> None:
    heard: list[str] = []
    pipelines: dict[str, Any] = {
        "a": Timed("a", heard, [900, 3, 1, 2]),
        "b": Timed("b", heard, [900, 5, 6, 4]),
    }
    assert first_token_ms(pipelines, "be brief", 3) == {"a": 2, "b": 5}
    assert heard == ["a", "b"] * 4


def test_without_a_system_message_there_is_none() -> None:
    assert [message["role"] for message in messages(None)] == ["user"]
