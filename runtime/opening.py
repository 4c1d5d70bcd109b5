"""Opening a bundle with what answers by it."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any, TypeVar

from clasp_trt.bundle import Bundle
from clasp_trt.methods import Method, get
from clasp_trt.policy import Policy
from clasp_trt.runtime.backends.find import backend_for
from clasp_trt.runtime.backends.interface import Backend
from clasp_trt.shortage import memory_for

T = TypeVar("T")


def opened(
    bundle: str | PathLike[str],
    made: Callable[[Bundle, Backend[Any], Policy | None, Method | None], T],
    *,
    policy: str | PathLike[str] | None,
    method: str | None,
    threads: int | None,
    provider: str | None,
    verify: bool,
) -> T:
    """What ``made`` makes of the bundle, its backend, the policy file and the method by its name; the backend is closed
    if it fails. Raises a :class:`clasp_trt.errors.ClaspError`."""
    chosen = None if method is None else get(method)
    whole = Bundle.open(bundle, verify=verify)
    own = None if policy is None else Policy.load(policy)
    backend = backend_for(whole, threads=threads, provider=provider)
    try:
        with memory_for("to load the bundle"):
            return made(whole, backend, own, chosen)
    except BaseException:
        backend.close()
        raise
