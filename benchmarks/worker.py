"""A peer of a benchmark as a process of its own, so that peers can take turns: only neighbours in time compare.

Requests and answers are lines of JSON. The process first says ``{"event": "ready", ...}``; then ``{"command": "run",
"image": PATH, "prompt": TEXT, "new_tokens": N}`` gives a :class:`Sample`, and ``{"command": "quit"}``, or the end of
the input, ends it. A request that fails gives ``{"event": "error", ...}``.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Sample:
    """One answer. Times are wall clock, in milliseconds."""

    ttft_ms: float  # from the image file and the prompt to the first token; everything between is included
    tpot_ms: tuple[float, ...]  # between consecutive tokens, one fewer than there are tokens
    tokens: tuple[int, ...]
    prompt_tokens: int  # visual tokens included
    peak_rss_mb: float  # of this process since it started, loading included; MB are 10**6 bytes
    steps_ms: dict[str, float] = field(default_factory=dict)  # of the time to first token, where the peer can tell


class Peer(Protocol):
    """Something that answers a prompt about an image."""

    def run(self, image: Path, prompt: str, new_tokens: int) -> Sample:
        """Answers greedily with exactly ``new_tokens`` tokens."""


def peak_rss_mb() -> float:
    """Peak resident memory of this process, in MB of 10**6 bytes (Linux).

    Not ``getrusage``: its maximum survives exec, so a child would report the peak of a large parent.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("/proc/self/status has no VmHWM line")


class Worker:
    """A peer as a process: loads on construction, answers :meth:`run`, ends with :meth:`close` or ``with``."""

    def __init__(
        self,
        program: str,
        *arguments: str,
        threads: int,
        root: Path = ROOT,
        python: Path | str = sys.executable,
        log: Path | None = None,
        limit_s: float | None = None,
    ) -> None:
        """``program`` is a module of this folder, such as ``hf_llava``; ``arguments`` are those of its command line.

        ``root`` is the source tree whose code answers, ``python`` the interpreter that runs it. Its standard error is
        added to the file ``log``. Whoever does not answer within ``limit_s`` seconds is ended.
        """
        with ExitStack() as opened:
            self._limit_s, self._late = limit_s, False
            self._process = subprocess.Popen(
                [str(python), "-m", f"benchmarks.{program}", *arguments, "--threads", str(threads)],
                cwd=root,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if log is None else opened.enter_context(log.open("ab")),
                text=True,
                env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": str(threads)},
            )
        try:
            ready = self._answer()
        except BaseException:
            self.close()
            raise
        self.load_s = float(ready["load_s"])
        self.versions: dict[str, str] = ready.get("versions", {})

    def run(self, image: Path, prompt: str, new_tokens: int) -> Sample:
        """As :meth:`Peer.run`. Raises RuntimeError with the worker's own words when it fails."""
        request = {"command": "run", "image": str(image), "prompt": prompt, "new_tokens": new_tokens}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        del answer["event"]
        return Sample(**{**answer, "tpot_ms": tuple(answer["tpot_ms"]), "tokens": tuple(answer["tokens"])})

    def close(self) -> None:
        """End the process; harmless when it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()  # the end of its input is its end
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:  # some libraries never come back from their own end
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        watch = threading.Timer(self._limit_s or 0, self._end)
        if self._limit_s is not None:
            watch.start()
        line = self._process.stdout.readline()
        watch.cancel()
        if self._late:
            raise RuntimeError(f"the worker did not answer within {self._limit_s:g} seconds")
        if not line:
            raise RuntimeError(f"the worker ended with exit code {self._process.wait()}; see standard error")
        answer: dict[str, Any] = json.loads(line)
        if answer["event"] == "error":
            raise RuntimeError(f"the worker failed: {answer['message']}")
        return answer

    def _end(self) -> None:
        self._late = True
        self._process.kill()


def serve(load: Callable[[], Peer], packages: Sequence[str] = ()) -> None:
    """Answers the requests on standard input with the peer that ``load`` gives; tells the versions of ``packages``."""
    protocol = _private_stdout()

    def say(event: str, content: dict[str, object]) -> None:
        protocol.write(json.dumps({"event": event, **content}) + "\n")

    start = time.perf_counter()
    peer = load()
    versions = {name: metadata.version(name) for name in packages}
    say("ready", {"load_s": time.perf_counter() - start, "peak_rss_mb": peak_rss_mb(), "versions": versions})
    for line in sys.stdin:
        try:
            request = json.loads(line)
            if request["command"] == "quit":
                break
            if request["command"] != "run":
                raise ValueError(f"unknown command {request['command']!r}, expected run or quit")
            sample = peer.run(Path(request["image"]), request["prompt"], request["new_tokens"])
        except Exception as error:  # the benchmark decides what a failure means; the worker stays alive
            say("error", {"message": f"{type(error).__name__}: {error}"})
        else:
            say("sample", asdict(sample))


def _private_stdout() -> IO[str]:
    """Standard output for the protocol alone: whatever a library prints from now on goes to standard error."""
    protocol = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return protocol
