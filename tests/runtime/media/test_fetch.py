"""Whatever a server does: its bytes, or one line within the deadline, and no password in it."""

from __future__ import annotations

import base64
import gzip
import http.server
import socket
import threading
import time
import traceback
import tracemalloc
import zlib
from collections.abc import Callable
from functools import partial

import pytest

from clasp_trt.errors import ImageError
from clasp_trt.runtime.media.fetch import fetch
from tests.mistakes import says
from tests.runtime.media.conftest import Answer, Server, gives

zipped = partial(gzip.compress, mtime=0)
"""The same bytes whenever, for they name tests."""
BODY = b"the bytes of a picture " * 9
LIMIT = 1 << 20


def refusal(url: str, *, limit: int = LIMIT, seconds: float = 20) -> str:
    with pytest.raises(ImageError) as caught:
        fetch(url, limit, seconds)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    return message


def got(url: str) -> bytes:
    return fetch(url, LIMIT, 20)


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("/Übersicht.png", "/%C3%9Cbersicht.png"),
        ("/my photo.png", "/my%20photo.png"),
        ("/my%20photo%C3%9C.png", "/my%20photo%C3%9C.png"),
        ("/100%.png?größe=1 2&b=%20", "/100%.png?gr%C3%B6%C3%9Fe=1%202&b=%20"),
        ("/a.png#part", "/a.png"),
        ("/图/😀.png ", "/%E5%9B%BE/%F0%9F%98%80.png"),
        ("/a\r\nX-Other: 1", "/aX-Other:%201"),
        ("?q", "/?q"),
    ],
)
def test_paths_are_asked_for_as_browsers_do(server: Server, written: str, asked: str) -> None:
    server.answers[asked] = gives(BODY)
    assert got(f"http://{server.host}{written}") == BODY
    assert server.asked == [asked]


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", zipped(BODY)),
        ("X-GZip", zipped(BODY[:50]) + zipped(BODY[50:])),
        ("gzip", zipped(BODY) + b"\0\0"),
        ("deflate", zlib.compress(BODY)),
        ("deflate", zlib.compress(BODY)[2:-4]),
        ("gzip, deflate", zlib.compress(zipped(BODY))),
        ("identity", BODY),
    ],
)
def test_encoded_bodies(server: Server, encoding: str, packed: bytes) -> None:
    server.answers["/x"] = gives(packed, Content_Encoding=encoding)
    assert got(f"http://{server.host}/x") == BODY


@pytest.mark.parametrize(
    ("encoding", "packed", "facts"),
    [
        ("br", BODY, ("'br'", "gzip")),
        ("gzip", BODY, ("damaged", "gzip")),
        ("gzip", zipped(BODY)[:-9], ("early", "gzip")),
        ("gzip", zipped(bytes(LIMIT + 1)), ("over", 1)),
        ("deflate", zlib.compress(bytes(LIMIT + 1)), ("over", 1)),
        ("gzip, gzip", zipped(zipped(bytes(4 * LIMIT))), ("over", 1)),
    ],
)
def test_encoded_bodies_that_are_refused(
    server: Server, encoding: str, packed: bytes, facts: tuple[object, ...]
) -> None:
    server.answers["/x"] = gives(packed, Content_Encoding=encoding)
    says(refusal(f"http://{server.host}/x"), *facts)


def test_a_bomb_takes_no_memory(server: Server) -> None:
    server.answers["/x"] = gives(zipped(bytes(64 * LIMIT)), Content_Encoding="gzip")
    tracemalloc.start()
    says(refusal(f"http://{server.host}/x"), "over", 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * LIMIT


def test_credentials_go_to_their_host_alone(server: Server) -> None:
    basic = "Basic " + base64.b64encode("us er:sécret:1".encode()).decode()
    server.answers["/x"] = gives(BODY)
    server.answers["/moved"] = gives(b"", status=302, Location="/x")
    server.answers["/elsewhere"] = gives(b"", status=307, Location=f"http://localhost:{server.server_port}/x")
    assert got(f"http://us%20er:s%C3%A9cret:1@{server.host}/moved") == BODY
    assert server.authorized == [basic, basic]
    assert got(f"http://us%20er:sécret:1@{server.host}/elsewhere") == BODY
    assert server.authorized[2:] == [basic, None]


def test_credentials_of_a_redirect_are_its_own(server: Server) -> None:
    server.answers["/x"] = gives(BODY)
    server.answers["/moved"] = gives(b"", status=302, Location=f"http://you:2@{server.host}/x")
    assert got(f"http://me:1@{server.host}/moved") == BODY
    assert server.authorized == [f"Basic {base64.b64encode(pair).decode()}" for pair in (b"me:1", b"you:2")]


@pytest.mark.parametrize(
    "url",
    [
        "http://me:secret@{}/none",
        "http://secret@{}/none",
        "http://me:secret@127.0.0.1:1/x.png",
        "http://me:secret@no-such-host.invalid/x.png",
        "http://me:secret@{}:99999999/x",
        "http://me:se/secret@{}/x",
        "http://me:se?secret#@{}/x",
        "http://me:secret@[::1/x",
        "http://me:secret@",
        "http://me:secret@/x",
        "http://{}/none?token=secret",
        "http://{}/odd",
    ],
)
def test_credentials_are_never_printed(server: Server, url: str) -> None:
    server.answers["/odd"] = gives(b"", status=302, Location="ftp://me:secret@127.0.0.1/x")
    refusal(url.format(server.host))


def test_redirects_stay_with_http_and_end(server: Server) -> None:
    server.answers["/file"] = gives(b"", status=302, Location="file:///etc/hostname")
    server.answers["/loop"] = gives(b"", status=301, Location="/loop")
    server.answers["/nowhere"] = gives(b"", status=302)
    server.answers["/x%20%C3%9C"] = gives(BODY)
    server.answers["/here"] = gives(b"", status=308, Location="x Ü".encode().decode("latin-1"))
    says(refusal(f"http://{server.host}/file"), 302, "file:///etc/hostname")
    says(refusal(f"http://{server.host}/loop"), 10)
    says(refusal(f"http://{server.host}/nowhere"), 302)
    assert got(f"http://{server.host}/here") == BODY


def test_bodies_that_are_too_long_or_too_short(server: Server) -> None:
    server.answers["/x"] = gives(BODY)
    server.answers["/short"] = gives(BODY, Content_Length=str(len(BODY) + 9))
    assert fetch(f"http://{server.host}/x", len(BODY), 20) == BODY
    says(refusal(f"http://{server.host}/x", limit=len(BODY) - 1), "over")
    says(refusal(f"http://{server.host}/short"), "early", 9)
    says(refusal(f"http://{server.host}/none"), 404)


def test_a_body_without_end_is_not_read_to_it(server: Server) -> None:
    sent = [0]

    def flood(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while sent[0] < 64 * LIMIT:
            sent[0] += handler.wfile.write(bytes(1 << 16))

    server.answers["/x"] = flood
    says(refusal(f"http://{server.host}/x"), "over", 1)
    assert sent[0] < 32 * LIMIT, "the buffers of both sides are much smaller"


def dripping(head: bytes) -> Answer:
    """Writes ``head`` at once, then a byte every 0.1 s for 4 s."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head)
        for _ in range(40):
            handler.wfile.write(b"x")
            time.sleep(0.1)

    return answer


def around(handler: http.server.BaseHTTPRequestHandler) -> None:
    time.sleep(0.3)
    gives(b"", status=302, Location=handler.path)(handler)


@pytest.mark.parametrize(
    "answer",
    [
        dripping(b""),
        dripping(b"HTTP/1.1 200 OK\r\n"),
        dripping(b"HTTP/1.1 200 OK\r\n\r\n"),
        dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9"),
        around,
        lambda handler: time.sleep(3),
    ],
    ids=["status", "headers", "body", "chunk", "redirects", "silence"],
)
def test_the_deadline_is_for_the_whole(server: Server, answer: Answer) -> None:
    server.answers["/x"] = answer
    started = time.monotonic()
    says(refusal(f"http://{server.host}/x", seconds=0.6), "took over")
    assert time.monotonic() - started < 1.5


def test_the_deadline_is_for_names_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(3))
    started = time.monotonic()
    says(refusal("http://slow.example/x", seconds=0.3), "took over", "slow.example")
    assert time.monotonic() - started < 1


def test_the_deadline_is_for_tls_too() -> None:
    """A server that accepts and never shakes hands."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        started = time.monotonic()
        says(refusal(f"https://127.0.0.1:{listening.getsockname()[1]}/x", seconds=0.3), "took over")
        assert time.monotonic() - started < 1


def test_every_address_of_a_name_is_tried(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., list[tuple[object, ...]]] = socket.getaddrinfo

    def two(host: str, port: int, **options: object) -> list[tuple[object, ...]]:
        return [*real("127.0.0.1", 1, **options), *real("127.0.0.1", server.server_port, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    monkeypatch.setenv("no_proxy", "*")
    server.answers["/x"] = gives(BODY)
    assert got("http://two.example/x") == BODY


def test_no_thread_outlives_a_request(server: Server) -> None:
    server.answers["/x"] = dripping(b"HTTP/1.1 200 OK\r\n")
    before = {thread.ident for thread in threading.enumerate() if thread.name.startswith("look up")}
    refusal(f"http://{server.host}/x", seconds=0.2)
    assert {thread.ident for thread in threading.enumerate() if thread.name.startswith("look up")} == before


def test_a_proxy_is_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", f"http://{server.host}")
    server.answers["http://far.example/x"] = gives(BODY)
    assert got("http://far.example/x") == BODY
