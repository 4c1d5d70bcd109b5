"""HTTP within a deadline that holds for all of it: looking up the name, connecting, TLS, each byte of headers and body.

A socket's own timeout bounds each wait; a server that sends a byte now and then never meets it.
"""

from __future__ import annotations

import functools
import http.client
import io
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any


class Deadline:
    """A moment, ``seconds`` from now."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._end

    def left(self) -> float:
        """Seconds until then, above 0. Raises ``TimeoutError`` afterwards."""
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the time is up")
        return seconds


def opener(deadline: Deadline) -> urllib.request.OpenerDirector:
    """Opens http and https, through the proxies that the environment names, and gives every response as it came:
    redirects are not followed."""
    made = urllib.request.OpenerDirector()
    proxies, others = urllib.request.ProxyHandler(), urllib.request.UnknownHandler()
    for handler in (proxies, others, _Plain(deadline), _Secure(deadline)):
        made.add_handler(handler)
    return made


class _Plain(urllib.request.HTTPHandler):
    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self._made = functools.partial(_within, http.client.HTTPConnection, deadline)

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._made, request)


class _Secure(urllib.request.HTTPSHandler):
    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self._made = functools.partial(_within, http.client.HTTPSConnection, deadline)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._made, request)


def _within(kind: type[http.client.HTTPConnection], deadline: Deadline, host: str, **options: Any) -> Any:
    """A connection of ``kind`` whose sockets and responses keep to the deadline."""
    connection: Any = kind(host, **options)
    connection._create_connection = functools.partial(_connect, deadline)
    connection.response_class = functools.partial(_Response, deadline)
    return connection


def connection(
    deadline: Deadline,
    host: str,
    port: int,
    context: ssl.SSLContext | None,
    connect: Callable[..., socket.socket],
) -> http.client.HTTPConnection:
    """A connection for requests to ``host``, by TLS where there is a ``context``, that keeps to the deadline; over the
    socket that ``connect`` gives when it is needed."""
    made: Any
    if context is None:
        made = _within(http.client.HTTPConnection, deadline, host, port=port)
    else:
        made = _within(http.client.HTTPSConnection, deadline, host, port=port, context=context)
    made._create_connection = connect
    return made  # type: ignore[no-any-return]


def _connect(deadline: Deadline, address: tuple[str, int], *_: object) -> socket.socket:
    return connect(deadline, resolve(deadline, *address))


def connect(deadline: Deadline, places: Sequence[tuple[Any, ...]]) -> socket.socket:
    """A socket connected to the first of ``places``, which :func:`resolve` gave, that answers; each gets its share of
    the time."""
    failure: OSError = OSError("the name has no address")
    for i, (family, kind, protocol, _, place) in enumerate(places):
        made = socket.socket(family, kind, protocol)
        try:
            made.settimeout(deadline.left() / (len(places) - i))
            made.connect(place)
            made.settimeout(deadline.left())  # for TLS, whose handshake is one wait
            return made
        except OSError as error:
            made.close()
            failure = error
    raise failure


def resolve(deadline: Deadline, host: str, port: int) -> list[Any]:
    """The addresses of a name, looked up in a thread of its own: nothing else ends that wait."""
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=ask, name=f"look up {host}", daemon=True)
    thread.start()
    thread.join(deadline.left())
    if not found:
        raise TimeoutError("the time is up")
    if isinstance(found[0], Exception):
        raise found[0]
    return list(found[0])


class _Response(http.client.HTTPResponse):
    def __init__(self, deadline: Deadline, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_Timed(deadline, sock))


class _Timed(io.RawIOBase):
    """What a socket receives; each wait is for what is left until the deadline."""

    def __init__(self, deadline: Deadline, sock: socket.socket) -> None:
        self._deadline, self._sock = deadline, sock
        self._raw = sock.makefile("rb", buffering=0)  # keeps the socket open for as long as it is read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._deadline.left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()
