"""A child process that lives as long as it holds: started again after a crash, and ended when it hangs."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.attack.kinds import Kind
from tests.house import ROOT
from tests.started import own_environment

START_S = 120.0


@dataclass(frozen=True)
class Reply:
    """``failed`` is None for a try that held; ``rss`` are the child's bytes in memory, None if it is gone."""

    failed: str | None
    rss: int | None


class Worker:
    """Tries of one kind, in a child; use it as a context."""

    def __init__(self, kind: Kind, material: Path, seed: int) -> None:
        self._kind, self._material, self._seed = kind, material, seed
        self._child: subprocess.Popen[bytes] | None = None
        self._replies = -1
        self._rest = b""
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._said.close()

    def start(self) -> None:
        """Starts the child; otherwise the first try does."""
        if self._child is None:
            self._start()

    def ask(self, number: int) -> Reply:
        """Has the child try ``number``, within the kind's bound."""
        self.start()
        child = self._child
        assert child is not None
        assert child.stdin is not None
        try:
            child.stdin.write(b"%d\n" % number)
            child.stdin.flush()
            told = self._told(self._kind.bound_s)
        except BrokenPipeError:
            told = {}
        if told is None:
            self._end()
            return Reply(f"hang: not done after {self._kind.bound_s:g} s", None)
        if not told:
            return Reply(self._crash(), None)
        return Reply(told["failed"], told["rss"])

    def _start(self) -> None:
        read, write = os.pipe()
        kind = self._kind
        words = [kind.module, self._material, self._seed, kind.memory_gb, write]
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.attack.child", *map(str, words)],
            cwd=ROOT,
            env=own_environment(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            pass_fds=[write],
            start_new_session=True,  # so that what it started ends with it
        )
        os.close(write)
        self._replies, self._rest = read, b""
        if not self._told(START_S):
            raise RuntimeError(f"the child for {kind.name} did not start: {self._tail()}")

    def _told(self, seconds: float) -> dict[str, Any] | None:
        """The child's next line; empty if it is gone, None if it is silent."""
        until = time.monotonic() + seconds
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._replies], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                return None
            data = os.read(self._replies, 1 << 16)
            if not data:
                return {}
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        told: dict[str, Any] = json.loads(line)
        return told

    def _crash(self) -> str:
        assert self._child is not None
        code = self._child.wait()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        said = self._tail()
        self._end()
        return f"crash: {how}; {said}"

    def _tail(self) -> str:
        """The end of what the child wrote to standard error."""
        self._said.seek(0)
        return " ".join(self._said.read()[-300:].decode(errors="replace").split())

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        if child.stdin is not None:
            with suppress(BrokenPipeError):
                child.stdin.close()
        child.wait()
        os.close(self._replies)
