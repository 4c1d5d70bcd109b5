"""What becomes of requests when things go wrong: ``python -m tests.serving_faults [--clients 200]``.

A server of the shipped checkpoint, with 4 slots, is asked by many clients at once while it is overloaded, while clients
leave, while its backend breaks or gives no sign of life, and while it is killed and asked to end. Each request is
answered whole, refused with a status that says so, ended with an error that says so, or lost: its connection was cut;
or there was nobody to ask any more. None may be lost but by a kill of the process, and none that was answered may be
wrong. The last line says whether that held.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import httpx2

from benchmarks.served import Serving, Told, ask, question

SLOTS, QUEUE, TOKENS = 4, 16, 24
SABOTAGED = """
import sys, time
from clasp_trt.errors import BackendError
from clasp_trt.runtime.decoder import Decoder
how, after, *arguments = sys.argv[1:]
step, asked = Decoder.step, []
def wrong(self, *given, **more):
    asked.append(1)
    if len(asked) > int(after):
        if how == "stuck":
            time.sleep(1000)
        raise BackendError("the device is lost")
    return step(self, *given, **more)
Decoder.step = wrong
from clasp_trt.cli import main
main(arguments, "clasp-trt")
"""


class Fault(NamedTuple):
    """A way to go wrong: how the process is started, what happens meanwhile, its exit code, and whether connections may
    be cut by it."""

    name: str
    sabotage: tuple[str, ...]
    meanwhile: Callable[[Serving], Awaitable[None]]
    code: int
    cuts: bool


async def nothing(server: Serving) -> None:
    """The server is asked and no more."""


def sends(number: int, after_s: float) -> Callable[[Serving], Awaitable[None]]:
    """A signal while requests are under way."""

    async def send(server: Serving) -> None:
        await asyncio.sleep(after_s)
        server.process.send_signal(number)

    return send


FAULTS = (
    Fault("overload", (), nothing, 0, cuts=False),
    Fault("clients leave", (), nothing, 0, cuts=False),
    Fault("SIGTERM", (), sends(signal.SIGTERM, 1.5), 0, cuts=False),
    Fault("backend breaks", ("broken", "60"), nothing, 70, cuts=False),
    Fault("worker stuck", ("stuck", "60"), nothing, 75, cuts=False),
    Fault("kill -9", (), sends(signal.SIGKILL, 1.5), -9, cuts=True),
)


async def tried(fault: Fault, bundle: Path, clients: int) -> tuple[Counter[str], int]:
    """What became of the requests of so many clients, and the exit code."""
    program = ("-c", SABOTAGED, *fault.sabotage) if fault.sabotage else ("-m", "clasp_trt")
    given = (
        "--slots",
        str(SLOTS),
        "--max-queue",
        str(QUEUE),
        "--threads",
        "1",
        "--stuck-exit",
        "3",
        "--stuck-after",
        "1",
    )
    with Serving(str(bundle), *given, program=program) as server:
        await server.ready()
        limits = httpx2.Limits(max_connections=clients)
        async with httpx2.AsyncClient(timeout=120, limits=limits) as client:

            async def one(number: int) -> str:
                await asyncio.sleep(random.Random(number).uniform(0, 2))
                asking = asyncio.ensure_future(ask(client, server.url, question(server.model, number, TOKENS)))
                if fault.name == "clients leave" and number % 2:
                    await asyncio.wait({asking}, timeout=random.Random(-number).uniform(0, 0.5))
                    if asking.cancel():
                        return "left"
                return outcome(await asking)

            _, *found = await asyncio.gather(fault.meanwhile(server), *(one(number) for number in range(clients)))
        if fault.meanwhile is nothing and fault.code == 0:
            await still_works(server)
            server.process.send_signal(signal.SIGTERM)
        return Counter(found), await asyncio.to_thread(server.process.wait, 60)


async def still_works(server: Serving) -> None:
    """Every slot is free again, and the server healthy."""
    async with httpx2.AsyncClient(timeout=60) as client:
        assert (await client.get(f"{server.url}/health")).status_code == 200
        found = await asyncio.gather(
            *(ask(client, server.url, question(server.model, 10**6 + number, TOKENS)) for number in range(SLOTS))
        )
        assert [outcome(told) for told in found] == ["answered"] * SLOTS
        page = (await client.get(f"{server.url}/metrics")).text
        used = [line for line in page.splitlines() if line.startswith(("clasp_slots_used{", "clasp_queue_length{"))]
        assert used
        assert all(line.endswith(" 0.0") for line in used), used


def outcome(told: Told) -> str:
    """The column of a request."""
    if told.status == 200:
        return "answered" if told.tokens == TOKENS else "wrong"
    return {-1: "nobody", 0: "lost", 429: "refused", 503: "refused", 500: "ended", 504: "ended"}.get(
        told.status, "wrong"
    )


def main() -> int:
    """Prints the table; 1 if something was lost or wrong that may not be."""
    from clasp_trt.tools.build.compiler import build
    from clasp_trt.tools.demo.shipped import checkpoint

    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--clients", type=int, default=200)
    options.add_argument("--only", help="one fault, by its name")
    given = options.parse_args()
    held = True
    print("| fault | sent | answered | refused | told of an error | client left | nobody there | lost | exit code |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as root:
        bundle = build(checkpoint(None), Path(root, "bundle")).root
        for fault in FAULTS:
            if given.only in (None, fault.name):
                found, code = asyncio.run(tried(fault, bundle, given.clients))
                cells = [found[name] for name in ("answered", "refused", "ended", "left", "nobody", "lost")]
                print(f"| {fault.name} | {given.clients} | {' | '.join(map(str, cells))} | {code} |", flush=True)
                held &= code == fault.code and not found["wrong"] and (fault.cuts or not found["lost"])
    print("held" if held else "did not hold")
    return 0 if held else 1


if __name__ == "__main__":
    raise SystemExit(main())
