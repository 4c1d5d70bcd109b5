"""The server as a process: a socket, signals, a watch over the engines, and an end with a code that says why."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import uvicorn
from PIL import Image

from clasp_trt.errors import ClaspError, RequestError
from clasp_trt.runtime.engine import Engine
from clasp_trt.runtime.serving import page, problem
from clasp_trt.runtime.serving.app import application
from clasp_trt.runtime.serving.house import House
from clasp_trt.runtime.serving.life import BROKEN, STUCK, Life
from clasp_trt.runtime.serving.settings import Settings

_BACKLOG = 2048
_GRACE_S = 5.0
"""Seconds to tell clients of an end that has no more time."""
_LOOKS_S = 0.25
_log = logging.getLogger(__name__)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens at a name or address; port 0 is any that is free. Raises :class:`RequestError`."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"cannot listen at {host[:200]} port {port}: {reason}; give --host and --port") from error


def serve(house: House, settings: Settings, at: socket.socket, told: Callable[[str], None] = _log.error) -> int:
    """Answers until the process is asked to end, or an engine breaks; returns the exit code. In the main thread.

    SIGTERM and SIGINT let what is under way be answered; a second one ends it. An engine that gives no sign of life
    ends the process from here.
    """
    return asyncio.run(_served(house, settings, at, told))


async def _served(house: House, settings: Settings, at: socket.socket, told: Callable[[str], None]) -> int:
    app = application(house, settings, [page.router])
    life: Life = app.state.life
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(_GRACE_S),
    )
    server, loop = _Server(config), asyncio.get_running_loop()

    def asked_to_end(number: int) -> None:
        if life.draining:
            life.exit_code = 128 + number
            life.stop(problem.leaving())
            life.ended.set()
        life.drain()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_end, number)
    Watch(house, settings, life, loop, told).start()
    serving = asyncio.ensure_future(server.serve(sockets=[at]))
    warming = asyncio.ensure_future(warm_up(house, life))
    ending = asyncio.ensure_future(_end(life, settings))
    await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await serving
    for task in (warming, ending):
        task.cancel()
    return life.exit_code


async def _end(life: Life, settings: Settings) -> None:
    """Waits until the last answer after :meth:`Life.drain`, or for as long as that may take."""
    while not life.draining:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(life.ended.wait(), _LOOKS_S)
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(life.ended.wait(), _GRACE_S if life.exit_code == BROKEN else settings.drain_timeout)
    life.stop(problem.leaving())


async def warm_up(house: House, life: Life) -> None:
    """Has every engine answer once, with a picture; then the server is ready."""
    picture = Image.new("RGB", (64, 64))
    loop = asyncio.get_running_loop()

    def ask(engine: Engine) -> None:
        _ = engine.submit(picture, "Hi", max_new_tokens=2, ignore_stop=True).result

    try:
        for served in house:
            await loop.run_in_executor(None, ask, served.engine)
    except ClaspError as error:
        _log.error("the first answer failed: %s", error)
        life.drain(BROKEN)
    else:
        life.ready = not life.draining


class _Server(uvicorn.Server):
    """Signals are the process's own matter."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Watch(threading.Thread):
    """Looks at the engines from a thread of its own, whatever becomes of the event loop."""

    def __init__(
        self,
        house: House,
        settings: Settings,
        life: Life,
        loop: asyncio.AbstractEventLoop,
        told: Callable[[str], None],
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        super().__init__(name="clasp-trt watch", daemon=True)
        self._house, self._settings, self._life, self._loop = house, settings, life, loop
        self._told, self._leave = told, leave

    def run(self) -> None:
        while not self._loop.is_closed():
            for served in self._house:
                engine = served.engine
                if engine.failure is not None:
                    self._told(f"error: {served.model} is broken: {engine.failure}")
                    return self._end(BROKEN, lambda: self._life.drain(BROKEN), 2 * _GRACE_S)
                if engine.silent_s > self._settings.stuck_exit:
                    self._told(f"error: {served.model} gave no sign of life for {engine.silent_s:.0f} s")
                    return self._end(STUCK, self._stop, 1.0)
            time.sleep(_LOOKS_S)

    def _stop(self) -> None:
        self._life.drain(STUCK)
        self._life.stop(problem.late(self._settings.stuck_exit))

    def _end(self, code: int, say: Callable[[], object], seconds: float) -> None:
        """Has the loop ``say`` it to clients, and ends the process if it has not done so itself by then."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(say)
        end = time.monotonic() + seconds
        while time.monotonic() < end and (code == STUCK or not self._loop.is_closed()):
            time.sleep(0.05)
        if code == STUCK or not self._loop.is_closed():  # what is stuck cannot be closed either
            sys.stderr.flush()
            self._leave(code)
