"""Requests together and one after another: ``python -m benchmarks.slots``.

The shipped checkpoint answers the same questions about a picture, by an engine of as many slots as there are requests
at a time, and by one of a single slot. Both take turns, round for round, and the first round does not count; medians
over rounds. With ``--leaving`` the two ways of going on after somebody left are compared: moving the last request
into the place, or computing a row in vain.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from clasp_trt.runtime.engine import Engine, Request, open_engine
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.demo.shipped import checkpoint
from examples.random_llava import PRESETS, make

PHOTO = Path(__file__).parents[1] / "examples" / "photos" / "coffee.jpg"
QUESTIONS = ("How many cups are there?", "What colour is the cup?", "Is there a spoon beside the cup?", "What is this?")


class Round(NamedTuple):
    """Tokens per second over a whole round, and the median time to the first token in milliseconds."""

    rate: float
    ttft_ms: float


def ask(engine: Engine, requests: int, tokens: int) -> list[Request]:
    """All at once, each of the same length."""
    return [
        engine.submit(PHOTO, QUESTIONS[number % len(QUESTIONS)], max_new_tokens=tokens, ignore_stop=True)
        for number in range(requests)
    ]


def run(engine: Engine, requests: int, tokens: int) -> Round:
    start = time.perf_counter()
    found = [request.result for request in ask(engine, requests, tokens)]
    spent = time.perf_counter() - start
    return Round(requests * tokens / spent, statistics.median(each.timings_ms["ttft"] for each in found))


def medians(rounds: Sequence[Round]) -> Round:
    rates, firsts = zip(*rounds, strict=True)
    return Round(statistics.median(rates), statistics.median(firsts))


def together(bundle: Path, counts: Sequence[int], tokens: int, rounds: int, threads: int) -> None:
    """The table of :func:`main`."""
    print("| requests at a time | one slot: tokens/s | first token | as many slots: tokens/s | first token | gain |")
    print("|---:|---:|---:|---:|---:|---:|")
    for count in counts:
        with open_engine(bundle, threads=threads) as one, open_engine(bundle, slots=count, threads=threads) as many:
            pairs = [(run(one, count, tokens), run(many, count, tokens)) for _ in range(rounds + 1)][1:]
        alone, all_at_once = (medians(each) for each in zip(*pairs, strict=True))
        print(
            f"| {count} | {alone.rate:.0f} | {alone.ttft_ms:.0f} ms | {all_at_once.rate:.0f} | "
            f"{all_at_once.ttft_ms:.0f} ms | x {all_at_once.rate / alone.rate:.2f} |"
        )


def leaving(bundle: Path, slots: int, tokens: int, rounds: int, threads: int) -> None:
    """What a row of a step costs, and what a move does."""
    with open_engine(bundle, slots=slots, threads=threads) as engine:
        spent: dict[int, list[float]] = {count: [] for count in range(1, slots + 1)}
        for _ in range(rounds):
            for count, times in spent.items():
                results = [request.result for request in ask(engine, count, tokens)]
                times.append(min(min(each.tpot_ms) for each in results if each.tpot_ms))
        caches, moves = engine._steps.decoder._caches, list[float]()
        for _ in range(rounds * 10):
            start = time.perf_counter()
            caches.move(slots - 1, 0)
            moves.append((time.perf_counter() - start) * 1e3)
    print("| rows of a step | " + " | ".join(map(str, spent)) + " | a move |")
    print("|---|" + "---:|" * (slots + 1))
    steps = " | ".join(f"{statistics.median(times):.2f} ms" for times in spent.values())
    print(f"| least step, median of rounds | {steps} | {statistics.median(moves):.2f} ms |")


@click.command()
@click.option("--preset", type=click.Choice(sorted(PRESETS)), help="Random weights [default: the shipped checkpoint].")
@click.option("--requests", type=click.IntRange(1), multiple=True, default=(1, 4, 8), show_default=True)
@click.option("--tokens", type=click.IntRange(2), default=32, show_default=True, help="Tokens of each answer.")
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option("--leaving", "leaves", is_flag=True, help="What a row of a step costs, and what a move does.")
def main(preset: str | None, requests: tuple[int, ...], tokens: int, rounds: int, threads: int, leaves: bool) -> None:
    with tempfile.TemporaryDirectory() as root:
        model = checkpoint(None) if preset is None else make(Path(root, "model"), PRESETS[preset])
        bundle = build(model, Path(root, "bundle")).root
        if leaves:
            leaving(bundle, max(requests), tokens, rounds, threads)
        else:
            together(bundle, requests, tokens, rounds, threads)


if __name__ == "__main__":
    main()
