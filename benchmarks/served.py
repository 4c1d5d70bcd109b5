"""A server in a process of its own, and clients that ask it over the loopback."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple

import httpx2
import numpy as np
from PIL import Image

PROGRAM = ("-m", "clasp_trt")
QUESTIONS = ("How many circles are there?", "What colour is the square?", "Is there a star?", "What is this?")
_START_S = 300


class Serving:
    """``clasp-trt serve`` with these arguments at a free port; ``program`` is how Python is told to run it."""

    def __init__(self, *arguments: str, program: Sequence[str] = PROGRAM) -> None:
        line = [sys.executable, *program, "serve", *arguments, "--port", "0"]
        self.process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
        self.said = ""
        self._listens = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        if not self._listens.wait(_START_S) or not (
            found := re.search(r"serving (\S+) at .*on (http://\S+)", self.said)
        ):
            self.process.kill()
            raise RuntimeError(f"the server did not start: {self.said}")
        self.model, self.url = found[1], found[2]

    def __enter__(self) -> Serving:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()

    def rss(self) -> int:
        """Bytes of memory that the process has."""
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    async def ready(self) -> None:
        """Waits for the first answers."""
        async with httpx2.AsyncClient() as client:
            while (await client.get(f"{self.url}/ready")).status_code != 200:
                await asyncio.sleep(0.05)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line
            if "http://" in line:
                self._listens.set()
        self._listens.set()


class Told(NamedTuple):
    """What became of a request: its status, or 0 of one that got no answer or half of one, -1 where nobody listened;
    seconds to its first token and in all; and its tokens."""

    status: int
    first_s: float = 0.0
    whole_s: float = 0.0
    tokens: int = 0


def picture(seed: int) -> str:
    """A picture that no other seed gives, so that nothing is remembered of it."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((168, 168), Image.Resampling.NEAREST).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def question(model: str, seed: int, tokens: int, **more: Any) -> dict[str, Any]:
    """The body of a request whose answer has so many tokens."""
    parts = [
        {"type": "image_url", "image_url": {"url": picture(seed)}},
        {"type": "text", "text": QUESTIONS[seed % len(QUESTIONS)]},
    ]
    asked = {"model": model, "messages": [{"role": "user", "content": parts}], "max_tokens": tokens}
    return {**asked, "ignore_eos": True, "stream": True, "logprobs": True, **more}


async def ask(client: httpx2.AsyncClient, url: str, body: dict[str, Any]) -> Told:
    """Asks and reads the stream to its end."""
    start, first, tokens, done = time.perf_counter(), 0.0, 0, False
    try:
        async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
            if response.status_code != 200:
                return Told(response.status_code)
            async for line in response.aiter_lines():
                if line == "data: [DONE]":
                    done = True
                elif line.startswith("data: "):
                    said = json.loads(line[6:])
                    if "error" in said:
                        return Told(500)
                    if said["choices"] and said["choices"][0]["logprobs"]:
                        first = first or time.perf_counter() - start
                        tokens += 1
    except httpx2.ConnectError:
        return Told(-1)
    except httpx2.HTTPError:
        return Told(0)
    return Told(200 if done else 0, first, time.perf_counter() - start, tokens)
