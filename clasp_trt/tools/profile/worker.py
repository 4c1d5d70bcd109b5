"""A bundle in a process of its own: its memory is its own, and bundles can take turns without sharing threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from types import TracebackType
from typing import Any

from clasp_trt.errors import BackendError, ClaspError
from clasp_trt.tools.profile.memory import Memory
from clasp_trt.tools.profile.sample import Sample
from clasp_trt.tools.profile.workload import Workload


@dataclass(frozen=True)
class Job:
    """What a process is for. ``trace`` is a folder for the graphs' own profiles, or None; ``provider`` that of
    :func:`clasp_trt.load`."""

    bundle: Path
    workload: Workload
    threads: int | None
    trace: Path | None
    provider: str | None = None


class Worker:
    """A running process. ``before`` and ``loaded`` are its memory without the bundle and with it.

    Raises what the process raised, if that is a :class:`ClaspError`, or :class:`BackendError` if the system killed it.
    """

    def __init__(self, job: Job) -> None:
        self._bundle = job.bundle
        self._channel, end = Pipe()
        # In a session of its own, the interrupt that a terminal sends to all of us reaches the parent alone. The end
        # of the channel ends the child, however the parent ended.
        with end:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "clasp_trt.tools.profile.child", str(end.fileno())],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # finds what we found
                pass_fds=[end.fileno()],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self.before: Memory
        self.loaded: Memory
        try:
            self.before, self.loaded = self._ask(job)
        except BaseException:
            self.close()
            raise

    def run(self) -> Sample:
        """One answer."""
        sample: Sample = self._ask(None)
        return sample

    def finish(self) -> None:
        """Lets the process end by itself, so that the profiles of its graphs are whole."""
        self._channel.close()
        self._process.wait()

    def close(self) -> None:
        """Ends the process at once, whatever it is doing; harmless when it has ended."""
        self._channel.close()
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, question: Job | None) -> Any:
        try:
            self._channel.send(question)
            reply = self._channel.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            code = self._process.wait()
            if code == -signal.SIGKILL:
                raise BackendError(
                    f"the process that ran {self._bundle} was killed, as the system does when memory runs out; "
                    "see `clasp-trt inspect` for its size"
                ) from None
            raise RuntimeError(f"the process that ran {self._bundle} ended with exit code {code}") from None
        if isinstance(reply, ClaspError):
            raise reply
        return reply
