"""Pictures are fetched from hosts that the operator named, at addresses that are public, and in no other way."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from clasp_trt.runtime.media import deadline
from clasp_trt.runtime.serving.fetching import Fetcher
from clasp_trt.runtime.serving.problem import Problem
from clasp_trt.runtime.serving.settings import Settings

PLACE = "messages[0].content[0].image_url.url"
PUBLIC = "93.184.216.34"


def places(*addresses: str) -> list[Any]:
    return [(socket.AF_INET6 if ":" in each else socket.AF_INET, 1, 6, "", (each, 80)) for each in addresses]


def never(*given: Any) -> Any:
    raise AssertionError("it connected")


def refused(url: str, hosts: tuple[str, ...], *addresses: str) -> Problem:
    fetcher = Fetcher(Settings(image_hosts=hosts), lambda *_: places(*addresses), never)
    with pytest.raises(Problem) as found:
        fetcher.fetch(url, PLACE)
    assert found.value.status == 400
    told: Any = found.value.body["error"]
    assert (told["code"], told["param"]) == ("host_not_allowed", PLACE)
    return found.value


@pytest.mark.parametrize(
    "url",
    [
        "", "/etc/passwd", "~/.ssh/id_rsa", "-", "photo.png", "file:///etc/passwd", "ftp://cdn.example.com/a.png",
        "gopher://cdn.example.com/", "http:///a.png", "http://", "https://cdn.example.com:99999/a.png",
        "http://other.example.com/a.png", "http://cdn.example.com.evil.org/a.png", "http://evilcdn.example.com/a.png",
        "http://cdn.example.com:22/a.png", "http://cdn.example.com@evil.org/a.png", "http://me:key@cdn.example.com/",
        "http://evil.org#@cdn.example.com/", "http://evil.org\\@cdn.example.com/",
        "http://127.0.0.1/a.png", "http://2130706433/", "http://0x7f.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/",
        "http://169.254.169.254/latest/meta-data/", "http://localhost/", "HTTP://LOCALHOST/", "http://0/",
    ],
)  # fmt: skip
def test_what_was_not_named_is_not_even_looked_up(url: str) -> None:
    fetcher = Fetcher(Settings(image_hosts=("cdn.example.com",)), never, never)
    with pytest.raises(Problem) as found:
        fetcher.fetch(url, PLACE)
    told: Any = found.value.body["error"]
    assert (found.value.status, told["code"]) == (400, "host_not_allowed")


@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1",), ("127.9.9.9",), ("10.0.0.1",), ("172.16.0.1",), ("192.168.1.1",), ("169.254.169.254",),
        ("100.64.0.1",), ("0.0.0.0",), ("255.255.255.255",), ("224.0.0.1",), ("224.0.1.1",), ("192.0.2.1",),
        ("::1",), ("::",), ("fe80::1",), ("fe80::1%eth0",), ("fc00::1",), ("fd00:ec2::254",), ("ff0e::1",),
        ("::ffff:127.0.0.1",), ("::ffff:10.0.0.1",), ("::ffff:a9fe:a9fe",), ("2002:7f00:1::",), ("2002:a00:1::",),
        ("64:ff9b::7f00:1",), ("64:ff9b::a9fe:a9fe",), ("2001:0:4136:e378:8000:63bf:f5ff:fffe",),
        (PUBLIC, "127.0.0.1"), ("10.0.0.1", PUBLIC), (),
    ],
)  # fmt: skip
def test_a_name_that_leads_inside(addresses: tuple[str, ...]) -> None:
    """Also where one of several addresses does."""
    refused("https://cdn.example.com/a.png", ("cdn.example.com",), *addresses)


@pytest.mark.parametrize(
    ("hosts", "host", "taken"),
    [
        (("cdn.example.com",), "CDN.Example.com", True),
        (("cdn.example.com",), "cdn.example.com.", True),
        (("CDN.example.com",), "cdn.example.com:80", True),
        (("*.example.com",), "a.b.example.com", True),
        (("*.example.com",), "example.com", False),
        (("*.example.com",), "badexample.com", False),
        (("cdn.example.com:8080",), "cdn.example.com:8080", True),
        (("cdn.example.com:8080",), "cdn.example.com", False),
        (("cdn.example.com",), "cdn.example.com:8080", False),
        (("a.org", "b.org"), "b.org", True),
        (("bücher.example",), "bücher.example", False),  # an operator writes it as the network does
        (("xn--bcher-kva.example",), "bücher.example", True),
        ((), "cdn.example.com", False),
    ],
)
def test_which_hosts_are_named(hosts: tuple[str, ...], host: str, taken: bool) -> None:
    def connected(*_: Any) -> Any:
        raise ConnectionRefusedError

    fetcher = Fetcher(Settings(image_hosts=hosts), lambda *_: places(PUBLIC), connected)
    with pytest.raises(Problem) as found:
        fetcher.fetch(f"http://{host}/a.png", PLACE)
    told: Any = found.value.body["error"]
    assert told["code"] == ("image_not_fetched" if taken else "host_not_allowed")


Answer = Callable[[BaseHTTPRequestHandler], None]


class Host:
    """A server on the loopback that stands for one far away, and what was looked up and asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.looked_up: list[str] = []
        self.connected: list[str] = []
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.asked.append((self.headers["Host"], self.path))
                host.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.answer: Answer = lambda handler: handler.send_error(500)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def fetcher(self, **settings: Any) -> Fetcher:
        return Fetcher(Settings(image_hosts=("cdn.example.com",), **settings), self._resolve, self._connect)

    def _resolve(self, within: Any, name: str, port: int) -> list[Any]:
        """A public address at first, and one inside for whoever asks again."""
        self.looked_up.append(name)
        return places(PUBLIC if len(self.looked_up) == 1 else "127.0.0.1")

    def _connect(self, within: Any, found: Any) -> Any:
        self.connected += [place[4][0] for place in found]
        address = self.server.server_address
        return deadline.connect(within, [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)])


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.server.shutdown()
    made.server.server_close()


def sending(data: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def test_a_name_is_looked_up_once_and_kept_to(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it would lead to afterwards, and whatever proxy the environment names."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    host.answer = sending(b"picture")
    assert host.fetcher().fetch("http://cdn.example.com/a%20b.png?w=1&h=%7E#part", PLACE) == b"picture"
    assert host.looked_up == ["cdn.example.com"]
    assert host.connected == [PUBLIC]
    assert host.asked == [("cdn.example.com", "/a%20b.png?w=1&h=%7E")]


def test_redirects_are_not_followed(host: Host) -> None:
    host.answer = sending(b"", 302, Location="http://127.0.0.1/")
    with pytest.raises(Problem) as found:
        host.fetcher().fetch("http://cdn.example.com/a.png", PLACE)
    told: Any = found.value.body["error"]
    assert (found.value.status, told["code"]) == (400, "image_not_fetched")
    assert len(host.asked) == 1


@pytest.mark.parametrize("says_so", [True, False])
def test_too_much_is_not_read(host: Host, says_so: bool) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        if says_so:
            handler.send_header("Content-Length", str(10**9))
        handler.end_headers()
        while True:
            try:
                handler.wfile.write(b"x" * 4096)
            except OSError:
                return

    host.answer = endless
    with pytest.raises(Problem) as found:
        host.fetcher(max_image_bytes=9999).fetch("http://cdn.example.com/a.png", PLACE)
    assert found.value.status == 413


def test_what_does_not_come_in_time(host: Host) -> None:
    stop = threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not stop.wait(0.01):
            try:
                handler.wfile.write(b"x")
            except OSError:
                return

    host.answer = slow
    with pytest.raises(Problem) as found:
        host.fetcher(image_timeout=0.2).fetch("http://cdn.example.com/a.png", PLACE)
    stop.set()
    assert "0.2 s" in str(found.value)


def test_tls_is_for_the_name(host: Host) -> None:
    """The certificate must be the name's, not the address's: the handshake says the name."""
    told: list[str] = []

    class Listening(threading.Thread):
        def __init__(self) -> None:
            super().__init__(daemon=True)
            self.socket = socket.create_server(("127.0.0.1", 0))

        def run(self) -> None:
            opened, _ = self.socket.accept()
            with opened:
                told.append(opened.recv(4096).decode("latin-1"))

    listening = Listening()
    listening.start()
    address = listening.socket.getsockname()
    place = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)]
    fetcher = Fetcher(
        Settings(image_hosts=("cdn.example.com",)),
        lambda *_: places(PUBLIC),
        lambda within, _: deadline.connect(within, place),
    )
    with pytest.raises(Problem):
        fetcher.fetch("https://cdn.example.com/a.png", PLACE)
    listening.join(5)
    listening.socket.close()
    assert "cdn.example.com" in told[0]
