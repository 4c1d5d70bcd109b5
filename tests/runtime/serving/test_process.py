"""``clasp-trt serve`` as a process, asked over the loopback by OpenAI's own client."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.runtime.serving.life import BROKEN, STUCK
from tests.house import ROOT
from tests.runtime.serving.conftest import said
from tests.started import own_environment

pytestmark = pytest.mark.full

QUESTION = said("How many cups are there?")
LONG: dict[str, Any] = {"max_tokens": 60, "extra_body": {"ignore_eos": True}, "logprobs": True}

SABOTAGED = """
import sys, time
from clasp_trt.errors import BackendError
from clasp_trt.runtime.decoder import Decoder
how, *arguments = sys.argv[1:]
step, asked = Decoder.step, []
def wrong(self, *given, **more):
    asked.append(1)
    if len(asked) > 20:  # after the first answers
        if how == "stuck":
            time.sleep(1000)
        elif how == "broken":
            raise BackendError("the GPU is on fire")
        time.sleep(float(how))
    return step(self, *given, **more)
Decoder.step = wrong
from clasp_trt.cli import main
main(arguments, "clasp-trt")
"""


class Server:
    """A process that serves, whose decoder goes wrong as ``how`` says: ``stuck``, ``broken``, or so many seconds
    late."""

    def __init__(self, how: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SABOTAGED, how, "serve", *arguments, "--port", "0", "--threads", "1"],
            cwd=ROOT,
            env=own_environment(OMP_NUM_THREADS="1"),
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said, self._serving = "", threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        assert self._serving.wait(120), self.said
        (port,) = re.findall(r"on http://[\w.]+:(\d+)", self.said)
        self.url = f"http://127.0.0.1:{port}"
        self.client = openai.OpenAI(base_url=f"{self.url}/v1", api_key="k", max_retries=0, timeout=60)
        while httpx2.get(f"{self.url}/ready").status_code != 200:
            time.sleep(0.05)
        self.model = self.client.models.list().data[0].id

    def ask(self, **wishes: Any) -> Any:
        return self.client.chat.completions.create(model=self.model, messages=QUESTION, **wishes)  # type: ignore[call-overload]

    def end(self, number: int = signal.SIGTERM) -> None:
        os.kill(self.process.pid, number)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line
            if "http://" in line:
                self._serving.set()


Start = Callable[..., Server]


@pytest.fixture
def start(bundle: Bundle) -> Iterator[Start]:
    started: list[Server] = []

    def start(how: str, *arguments: str) -> Server:
        started.append(Server(how, str(bundle.root), *arguments))
        return started[-1]

    yield start
    for server in started:
        server.client.close()
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()


def test_a_client_and_a_drain(start: Start, tmp_path: Path) -> None:
    """Errors are the client's own exceptions; after SIGTERM a stream goes on to its end, and others are turned away."""
    (tmp_path / "key").write_text("k\n")
    server = start("0.02", "--api-key-file", str(tmp_path / "key"), "--model-name", "tiny", "--slots", "2")
    assert server.model == "tiny"
    assert server.ask(max_tokens=3, extra_body={"ignore_eos": True}).usage.completion_tokens == 3
    with pytest.raises(openai.BadRequestError) as wrong:
        server.ask(n=2)
    assert wrong.value.param == "n"
    with pytest.raises(openai.NotFoundError):
        server.client.chat.completions.create(model="other", messages=QUESTION)  # type: ignore[arg-type]
    with pytest.raises(openai.AuthenticationError):
        server.client.with_options(api_key="wrong").models.list()
    pieces = iter(server.ask(**LONG, stream=True))
    next(pieces)
    server.end()
    while httpx2.get(f"{server.url}/ready").is_success:
        time.sleep(0.01)
    with pytest.raises(openai.InternalServerError) as turned_away:
        server.ask(max_tokens=1)
    assert turned_away.value.status_code == 503
    assert [piece.choices[0].finish_reason for piece in pieces][-1] == "length"
    assert server.process.wait(20) == 0


def test_a_second_signal_ends_it_at_once(start: Start) -> None:
    server = start("0.5")
    pieces = iter(server.ask(**LONG, stream=True))
    next(pieces)
    server.end(signal.SIGINT)
    time.sleep(0.3)
    server.end(signal.SIGINT)
    with pytest.raises(openai.APIError):
        list(pieces)
    assert server.process.wait(20) == 128 + signal.SIGINT


@pytest.mark.parametrize(("how", "code"), [("stuck", STUCK), ("broken", BROKEN)])
def test_a_backend_that_is_lost_ends_the_process(start: Start, how: str, code: int) -> None:
    """With a code of its own, and clients hear of it."""
    server = start(how, "--stuck-exit", "1.5", "--stuck-after", "0.5")
    with pytest.raises(openai.APIError):
        list(server.ask(**LONG, stream=True))
    assert server.process.wait(30) == code
    assert "Traceback" not in server.said
    assert ("sign of life" if how == "stuck" else "on fire") in server.said


def test_a_port_that_is_taken(bundle: Bundle) -> None:
    from clasp_trt.runtime.serving.server import listening

    with listening("127.0.0.1", 0) as taken:
        line = [sys.executable, "-m", "clasp_trt", "serve", str(bundle.root), "--port", str(taken.getsockname()[1])]
        done = subprocess.run(line, cwd=ROOT, env=own_environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "port" in done.stderr
