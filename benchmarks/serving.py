"""Clients of a server, one after another and together: ``python -m benchmarks.serving [BUNDLE...]``.

Each bundle, or the shipped checkpoint at several budgets, is served with one slot and with as many as there are
clients; these ask over the loopback, each again as soon as it was answered, about pictures that nobody saw before. Both
servers take turns, round for round, and the first round does not count.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

import click
import httpx2

from benchmarks.served import Serving, Told, ask, question
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.demo.shipped import checkpoint

BUDGETS = ("none", "48", "24")
_seeds = count(1)


class Load(NamedTuple):
    """Tokens per second over a round, and each answer's seconds to the first token."""

    rate: float
    firsts: tuple[float, ...]


async def load(server: Serving, clients: int, requests: int, tokens: int) -> Load:
    """So many clients, each of which asks so often."""
    async with httpx2.AsyncClient(timeout=600, limits=httpx2.Limits(max_connections=clients)) as client:

        async def one() -> list[Told]:
            return [
                await ask(client, server.url, question(server.model, next(_seeds), tokens)) for _ in range(requests)
            ]

        start = time.perf_counter()
        found = [told for each in await asyncio.gather(*(one() for _ in range(clients))) for told in each]
        spent = time.perf_counter() - start
    if wrong := [told.status for told in found if told.status != 200 or told.tokens != tokens]:
        raise RuntimeError(f"requests were not answered: {wrong}")
    return Load(len(found) * tokens / spent, tuple(told.first_s for told in found))


def percentile(values: Sequence[float], share: float) -> float:
    """The least value with that share of them at or below it."""
    ranked = sorted(values)
    return ranked[max(0, min(len(ranked) - 1, -int(-share * len(ranked) // 1) - 1))]


def row(loads: Sequence[Load]) -> str:
    """The cells of a server: its rate, and the first token in milliseconds at the middle and near the end."""
    firsts = [first * 1e3 for each in loads for first in each.firsts]
    rate = statistics.median(each.rate for each in loads)
    return f"{rate:.0f} | {percentile(firsts, 0.5):.0f} / {percentile(firsts, 0.95):.0f} ms"


async def measured(bundle: Path, clients: int, requests: int, tokens: int, rounds: int, threads: int) -> str:
    """A row of the table of :func:`main`, without its first cell."""
    given = (str(bundle), "--threads", str(threads), "--slots")
    with Serving(*given, "1") as single, Serving(*given, str(clients)) as several:
        servers = (single, several)
        found: dict[Serving, list[Load]] = {server: [] for server in servers}
        for server in servers:
            await server.ready()
        for number in range(rounds + 1):
            for server in servers if number % 2 else reversed(servers):
                found[server].append(await load(server, clients, requests, tokens))
        alone, together = (found[server][1:] for server in servers)
    gain = statistics.median(each.rate for each in together) / statistics.median(each.rate for each in alone)
    return f"{clients} | {row(alone)} | {row(together)} | x {gain:.2f}"


@click.command()
@click.argument("bundles", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--budget", "budgets", multiple=True, default=BUDGETS, show_default=True, help="Of the shipped checkpoint."
)
@click.option("--clients", multiple=True, type=click.IntRange(min=1), default=(1, 4, 8), show_default=True)
@click.option("--requests", type=click.IntRange(min=1), default=4, show_default=True, help="Of each client in a round.")
@click.option("--tokens", type=click.IntRange(min=2), default=16, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
def main(
    bundles: tuple[Path, ...],
    budgets: tuple[str, ...],
    clients: tuple[int, ...],
    requests: int,
    tokens: int,
    rounds: int,
    threads: int,
) -> None:
    with tempfile.TemporaryDirectory() as root:
        served = {each.name: each for each in bundles}
        if not served:
            for budget in budgets:
                options = {"prune_at": "none"} if budget == "none" else {"budget": budget}
                served[budget] = build(checkpoint(None), Path(root, budget), **options).root  # type: ignore[arg-type]
        print("| budget | clients | one slot: tokens/s | first token | as many slots: tokens/s | first token | gain |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for name, bundle in served.items():
            for number in clients:
                print(
                    f"| {name} | {asyncio.run(measured(bundle, number, requests, tokens, rounds, threads))} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
