"""The server as a process: a socket, the engines, and an end."""

from __future__ import annotations

import socket

import uvicorn

from clasp_trt.errors import RequestError
from clasp_trt.runtime.serving import page
from clasp_trt.runtime.serving.app import application
from clasp_trt.runtime.serving.house import House
from clasp_trt.runtime.serving.settings import Settings

_BACKLOG = 2048


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens at a name or address; port 0 is any that is free. Raises :class:`RequestError`."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        made = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"cannot listen at {host[:200]} port {port}: {reason}; give --host and --port") from error
    return made


def serve(house: House, settings: Settings, at: socket.socket) -> None:
    """Answers until the process is asked to end."""
    config = uvicorn.Config(
        application(house, settings, [page.router]),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.drain_timeout),
    )
    uvicorn.Server(config).run(sockets=[at])
