"""How URLs are asked for, and what errors show of them."""

from __future__ import annotations

import pytest

from clasp_trt.runtime.media.urls import Address, redacted


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("HTTP://Host.Example", "http://host.example/"),
        ("https://münchen.example:8443/ä", "https://xn--mnchen-3ya.example:8443/%C3%A4"),
        ("http://[2001:DB8::1]:80/x", "http://[2001:db8::1]:80/x"),
        ("http://me:pw@host/x?a=b c#d", "http://host/x?a=b%20c"),
        (" http://host/a b\n", "http://host/a%20b"),
    ],
)
def test_addresses(text: str, url: str) -> None:
    assert Address.of(text).url == url


@pytest.mark.parametrize(
    "text", ["http://", "http:///x", "ftp://host/x", "http://host:x/", "http://[::1/", f"http://{'ü' * 70}/", "x"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|IPv6"):
        Address.of(text)


@pytest.mark.parametrize(
    ("location", "sent"),
    [
        ("/y", True),
        ("http://HOST:80/y", True),
        ("https://host/y", False),
        ("http://host:81/y", False),
        ("http://host.example/y", False),
        ("//other/y", False),
    ],
)
def test_credentials_follow_to_the_same_origin_alone(location: str, sent: bool) -> None:
    assert (Address.of("http://me:pw@host/x").redirected(location).authorization is not None) == sent


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:secret@host/x", "http://host/x"),
        ("http://me:se@cret@host:80/x", "http://host:80/x"),
        ("http:/me:secret@host/x", "http:/host/x"),
        ("FTP://me:secret@host/x.png", "FTP://host/x.png"),
        ("http://host/@me/x.png", "http://host/@me/x.png"),
        ("http://host/x.png?token=secret#y", "http://host/x.png?..."),
        ("photos@2x/a.png", "photos@2x/a.png"),
        ("C:\\photos\\a.png", "C:\\photos\\a.png"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert redacted(text) == shown
