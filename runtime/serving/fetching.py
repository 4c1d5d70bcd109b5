"""Fetching a picture that a stranger named: from hosts that the operator named, and from nowhere inside."""

from __future__ import annotations

import http.client
import ipaddress
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from clasp_trt.errors import ImageError
from clasp_trt.runtime.media import deadline
from clasp_trt.runtime.media.deadline import Deadline
from clasp_trt.runtime.media.fetch import TooLargeError, received
from clasp_trt.runtime.media.urls import Address
from clasp_trt.runtime.serving.problem import Problem, too_large
from clasp_trt.runtime.serving.settings import Settings

_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_HEADERS = {"User-Agent": "clasp-trt", "Accept": "image/*", "Accept-Encoding": "identity"}
IP = ipaddress.IPv4Address | ipaddress.IPv6Address
Places = Sequence[tuple[Any, ...]]
"""What :func:`socket.getaddrinfo` gives."""


class Fetcher:
    """Fetches from ``settings.image_hosts``. A name is looked up once; all its addresses must be public ones, and the
    connection is to one of these very addresses. Redirects are not followed, and no proxy is asked.

    ``resolve`` and ``connect`` are for tests.
    """

    def __init__(
        self,
        settings: Settings,
        resolve: Callable[[Deadline, str, int], Places] = deadline.resolve,
        connect: Callable[[Deadline, Places], Any] = deadline.connect,
    ) -> None:
        self._settings, self._resolve, self._connect = settings, resolve, connect

    def fetch(self, url: str, place: str) -> bytes:
        """What is at ``url``, which stands in a request at ``place``; blocks. Raises :class:`Problem`."""
        settings, within = self._settings, Deadline(self._settings.image_timeout)
        try:
            address = Address.of(url)
        except ValueError as error:
            raise _refused(place, f"is no URL that is fetched here: {error}") from None
        scheme, host, port = address.origin
        if not _named(scheme, host, port, settings.image_hosts) or address.authorization is not None:
            raise _refused(
                place, "is at a host from which nothing is fetched here; send the picture itself as a data: URL"
            )
        try:
            places = self._resolve(within, host, port)
            if not places or not all(_is_public(found[4][0]) for found in places):
                raise _refused(place, "is at a host from which nothing is fetched here; its address is not public")
            return self._get(address, places, within)
        except TooLargeError:
            raise too_large("the picture", settings.max_image_bytes, place) from None
        except ImageError as error:
            raise Problem(400, str(error), param=place, code="image_not_fetched") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            why = f"did not come within {settings.image_timeout:g} s" if within.over else "could not be fetched"
            raise Problem(
                400, f"{place} {why}; send the picture itself", param=place, code="image_not_fetched"
            ) from error

    def _get(self, address: Address, places: Places, within: Deadline) -> bytes:
        scheme, host, port = address.origin
        context = ssl.create_default_context() if scheme == "https" else None
        connection = deadline.connection(within, host, port, context, lambda *_: self._connect(within, places))
        try:
            connection.request("GET", address.target, headers=_HEADERS)
            response = connection.getresponse()
            if response.status != 200:
                raise ImageError(f"the picture's host answered {response.status}; redirects are not followed")
            return received(response, "the picture", self._settings.max_image_bytes, within)
        finally:
            connection.close()


def _named(scheme: str, host: str, port: int, allowed: Sequence[str]) -> bool:
    """Whether the operator named the host: ``example.com``, ``*.example.com``, or with a port that is not the usual."""
    host = host.rstrip(".").lower()
    for each in allowed:
        name, colon, number = each.lower().rpartition(":") if _has_port(each) else (each.lower(), "", "")
        if port != (int(number) if colon else _PORTS[scheme]):
            continue
        if host == name or (name.startswith("*.") and host.endswith(name[1:]) and host != name[2:]):
            return True
    return False


def _has_port(name: str) -> bool:
    return name.count(":") == 1 and name.rpartition(":")[2].isdigit()


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    return all(each.is_global and not each.is_multicast for each in _meant(address))


def _meant(address: IP) -> list[IP]:
    """The address, and those of IPv4 that it stands for."""
    found: list[IP] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return [address.ipv4_mapped]
        found += [each for each in (address.sixtofour, *(address.teredo or ())) if each is not None]
        if address in _NAT64:
            found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return found


def _refused(place: str, why: str) -> Problem:
    return Problem(400, f"{place} {why}", param=place, code="host_not_allowed")
