"""Peers that answer in turn: only neighbours in time compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

from benchmarks.peers.lineup import Entrant
from benchmarks.worker import Sample

WARM_TOKENS, TRIED_TOKENS = 2, 4
Say = Callable[[str], None]


class Child(Protocol):
    """A started peer, ended by leaving its ``with``."""

    load_s: float
    versions: dict[str, str]

    def ask(self, new_tokens: int) -> Sample:
        """One answer to the question of its shape."""

    def __enter__(self) -> Child: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


Start = Callable[[Entrant, int], Child]
"""Starts an entrant on a number of threads."""


@dataclass
class Taken:
    """What was measured of an entrant, or why it is left out."""

    entrant: Entrant
    threads: int = 0
    samples: list[Sample] = field(default_factory=list)
    load_s: list[float] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    left_out: str | None = None


def measure(
    entrants: Sequence[Entrant],
    start: Start,
    *,
    rounds: int,
    new_tokens: int,
    threads: Sequence[int],
    say: Say,
    after_round: Callable[[list[Taken]], None] = lambda taken: None,
) -> list[Taken]:
    """``rounds`` answers of each entrant, in turn; each by a process of its own that has answered once before.

    With several ``threads`` the first round begins with the number at which its first token comes soonest. Whoever
    fails, in whatever way, is left out from there on, with the reason; what it has answered does not count.
    """
    taken = [Taken(each) for each in entrants]
    with ExitStack() as stack:
        staying: dict[str, Child] = {}
        for number in range(rounds):
            for each in taken:
                if each.left_out is not None:
                    continue
                try:
                    each.threads = each.threads or _best(each.entrant, start, threads, say)
                    sample = _turn(each, start, new_tokens, staying, stack)
                except Exception as error:  # a library of another's: whatever it raises, the others go on
                    each.left_out = " ".join(str(error).split()) or type(error).__name__
                    say(f"{each.entrant.name} is left out: {each.left_out}")
                else:
                    each.samples.append(sample)
                    say(f"round {number + 1} of {rounds}, {each.entrant.name}: first token {sample.ttft_ms:.0f} ms")
            after_round(taken)
    return taken


def _best(entrant: Entrant, start: Start, threads: Sequence[int], say: Say) -> int:
    if len(threads) == 1:
        return threads[0]
    tried: dict[int, float] = {}
    for count in threads:
        with start(entrant, count) as child:
            child.ask(WARM_TOKENS)
            tried[count] = child.ask(TRIED_TOKENS).ttft_ms
        say(f"{entrant.name} on {count} threads: first token {tried[count]:.0f} ms")
    return min(tried, key=tried.__getitem__)


def _turn(each: Taken, start: Start, new_tokens: int, staying: dict[str, Child], stack: ExitStack) -> Sample:
    name = each.entrant.name
    if name in staying:
        return staying[name].ask(new_tokens)
    with ExitStack() as own:
        child = (stack if each.entrant.stays else own).enter_context(start(each.entrant, each.threads))
        # what stays has compiled, and does so for every length anew
        child.ask(new_tokens if each.entrant.stays else WARM_TOKENS)
        each.load_s.append(child.load_s)
        each.versions = child.versions
        if each.entrant.stays:
            staying[name] = child
        return child.ask(new_tokens)
