"""Entrants that answer at once, and note when they are asked."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from benchmarks.peers.lineup import LLAVA, Entrant, Model
from benchmarks.worker import Sample


def entrant(name: str, *, peer: str = "openvino", part: str = "", stays: bool = False) -> Entrant:
    return Entrant(name, Model(name, peer, LLAVA), "none", part=part, stays=stays)


def sample(ttft: float, *gaps: float, memory: float = 1000) -> Sample:
    return Sample(ttft, gaps or (1.0,), (0,) * (len(gaps or (1,)) + 1), 639, memory)


class Child:
    """Answers with the times of ``ttft`` in turn; an exception among them is raised."""

    load_s = 2.0
    versions = {"theirs": "1.0"}  # noqa: RUF012

    def __init__(self, name: str, ttft: Sequence[float | Exception], heard: list[str]) -> None:
        self._name, self._ttft, self._heard = name, iter(ttft), heard
        heard.append(f"start {name}")

    def ask(self, new_tokens: int) -> Sample:
        self._heard.append(f"ask {self._name} {new_tokens}")
        answer = next(self._ttft)
        if isinstance(answer, Exception):
            raise answer
        return sample(answer, *[10.0] * (new_tokens - 1))

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._heard.append(f"end {self._name}")
