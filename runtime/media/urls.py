"""URLs of pictures as people paste them: how they are asked for, and how errors show them."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote_to_bytes, urljoin, urlsplit, urlunsplit

from clasp_trt.brief import clipped

SCHEMES = ("http", "https")
_PORTS = {"http": 80, "https": 443}
_KEPT = "!#$%&'()*+,/:;=?@[]~"  # what a path or query may hold as it is; '%' too, for most come encoded already
_START = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:[/\\]*)(.*)", re.DOTALL)
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(:[0-9]*)?")


@dataclass(frozen=True)
class Address:
    """Where a picture is: ``url`` is ASCII, without user, password and fragment; ``authorization`` is the value of the
    header that has them, if there are any."""

    url: str
    origin: tuple[str, str, int]
    authorization: str | None

    @classmethod
    def of(cls, text: str) -> Address:
        """Reads a URL: other characters than ASCII and spaces are encoded as browsers do. Raises ``ValueError``, which
        does not say the URL."""
        parts = urlsplit(text.strip())
        if parts.scheme not in SCHEMES or not parts.hostname:
            raise ValueError("expected http(s)://host/path")
        host = _ascii_host(parts.hostname)
        try:
            port = parts.port
        except ValueError:
            raise ValueError("expected a number from 0 to 65535 after the host's colon") from None
        place = f"[{host}]" if ":" in host else host
        url = urlunsplit((
            parts.scheme,
            place if port is None else f"{place}:{port}",
            quote(parts.path or "/", safe=_KEPT),
            quote(parts.query, safe=_KEPT),
            "",
        ))  # fmt: skip
        origin = (parts.scheme, host, _PORTS[parts.scheme] if port is None else port)
        return cls(url, origin, _authorization(parts))

    @property
    def target(self) -> str:
        """What is asked for at the host: path and query."""
        return urlunsplit(("", "", *urlsplit(self.url)[2:4], ""))

    def redirected(self, location: str) -> Address:
        """Where a redirect leads. User and password go along to the same origin alone. Raises ``ValueError``."""
        target = Address.of(urljoin(self.url, location.strip()))
        if target.authorization is None and target.origin == self.origin:
            return Address(target.url, target.origin, self.authorization)
        return target


def redacted(text: str) -> str:
    """A URL as errors may show it: without user and password, and without the query, which may hold a signature. Any
    other text is :func:`~clasp_trt.brief.clipped`."""
    found = _START.match(text[: 1 << 16].strip())
    if found is None or found[1].lower() == "data:":
        return clipped(text)
    start, rest = found.groups()
    authority = re.split(r"[/\\?#]", rest, maxsplit=1)[0]
    if not _HOST.fullmatch(authority.rpartition("@")[2]):
        rest = rest.rpartition("@")[2]  # no host: the password may hold what ends one
    else:
        rest = rest[authority.rfind("@") + 1 :]
    path, query, _ = rest.partition("#")[0].partition("?")
    return clipped(f"{start}{path}{query}{'...' if query else ''}")


def _ascii_host(host: str) -> str:
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError("expected a host name that the domain name system can hold") from None


def _authorization(parts: SplitResult) -> str | None:
    """The header of Basic authentication (RFC 7617)."""
    if not parts.username and not parts.password:
        return None
    pair = b":".join(unquote_to_bytes(part or "") for part in (parts.username, parts.password))
    return "Basic " + base64.b64encode(pair).decode("ascii")
