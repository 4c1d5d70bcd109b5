"""What is answered in place of an answer: a status, and an error in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Mapping

from clasp_trt.errors import (
    BackendError,
    BusyError,
    ClaspError,
    ImageError,
    MethodError,
    PromptError,
    RequestError,
    ShortageError,
)

RETRY_S = 1
"""Seconds after which a client that was turned away may ask again."""
_RETRY = {"Retry-After": str(RETRY_S)}
_ASKER = "invalid_request_error"
_SERVER = "server_error"
_CLOSE = {"Connection": "close"}


class Problem(Exception):
    """Raised wherever a request goes no further. ``param`` is the field that is wrong, as a path into the body."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = _ASKER,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def unauthorized() -> Problem:
    """The key is missing or wrong."""
    return Problem(
        401,
        "no valid key; send the header Authorization: Bearer KEY",
        kind="authentication_error",
        code="invalid_api_key",
        headers={"WWW-Authenticate": "Bearer", **_CLOSE},
    )


def too_large(what: str, limit: int, param: str | None = None) -> Problem:
    """More bytes than are taken."""
    bound = f"{limit / 2**20:g} MiB"
    return Problem(413, f"{what} is over {bound}", code="request_too_large", param=param, headers=_CLOSE)


def too_slow(seconds: float) -> Problem:
    """The body of a request did not come."""
    return Problem(408, f"the request did not arrive within {seconds:g} s", code="request_timeout", headers=_CLOSE)


def busy() -> Problem:
    """As many wait as may."""
    return Problem(
        429,
        "as many requests wait as may; ask again later",
        kind="rate_limit_error",
        code="queue_full",
        headers=_RETRY,
    )


def waited(seconds: float) -> Problem:
    """No slot came free in time."""
    return Problem(
        503,
        f"no slot came free within {seconds:g} s; ask again later",
        kind=_SERVER,
        code="queue_timeout",
        headers=_RETRY,
    )


def late(seconds: float) -> Problem:
    """The answer was not whole in time."""
    return Problem(504, f"the answer took over {seconds:g} s", kind=_SERVER, code="timeout")


def leaving() -> Problem:
    """The server is about to end."""
    return Problem(
        503, "the server is about to end; ask again later", kind=_SERVER, code="draining", headers={**_RETRY, **_CLOSE}
    )


def gone() -> Problem:
    """Nobody is there any more to be answered."""
    return Problem(499, "the client went away", code="client_gone")


def of(error: BaseException, param: str | None = None) -> Problem:
    """What the runtime said of a request. What it says of this machine is for its operator, not for whoever asked."""
    if isinstance(error, BusyError):
        return busy()
    if isinstance(error, (PromptError, ImageError, MethodError)):
        return Problem(400, str(error), param=param)
    if isinstance(error, (ShortageError, RequestError)):
        lacks = "memory is lacking" if isinstance(error, ShortageError) else "the answer was ended"
        return Problem(503, f"{lacks}; ask again later", kind=_SERVER, code="unavailable", headers=_RETRY)
    if isinstance(error, BackendError) and type(error) is not BackendError:  # an overflow, of this request alone
        return Problem(500, str(error), kind=_SERVER, code="overflow")
    known = isinstance(error, ClaspError)
    return Problem(
        500, "the answer could not be computed", kind=_SERVER, code="backend_error" if known else "internal_error"
    )
