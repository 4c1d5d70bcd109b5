"""What is asked of a cluster, as words: ``bundle=/bundle replicas=2``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clasp_trt.errors import RequestError
from clasp_trt.runtime.serving.settings import Settings


@dataclass(frozen=True)
class Wanted:
    """A cluster.

    Attributes:
        bundles: folders, the same on every machine; one checkpoint at several budgets, as for ``clasp-trt serve``.
        replicas: at least so many servers, each with a device of its own.
        max_replicas: at most so many, where requests wait; no fewer than ``replicas``.
        slots: requests that a replica answers together (None: as the bundle was built).
        queue: requests that may wait at the ingress, and at each replica.
        gpus: of each replica; 0 answers on the CPU.
        cpus: of each replica.
        threads: compute threads on the CPU.
        model_name: what requests call the model.
        settings: bounds and the key, from the file ``api_key_file``.
    """

    bundles: tuple[str, ...]
    replicas: int = 1
    max_replicas: int = 1
    slots: int | None = None
    queue: int = 64
    gpus: float = 1
    cpus: float = 1
    threads: int | None = None
    model_name: str | None = None
    settings: Settings = field(default_factory=Settings)

    @property
    def slots_or_one(self) -> int:
        """Requests that a replica is taken to answer together."""
        return self.slots or 1


def wanted(args: Mapping[str, str]) -> Wanted:
    """What ``args`` ask for. Raises :class:`RequestError` that names the word that is wrong."""
    known: dict[str, Callable[[str], Any]] = {
        "bundle": lambda word: tuple(word.split(",")), "replicas": _count(1), "max_replicas": _count(1),
        "slots": _count(1), "queue": _count(0), "gpus": _share, "cpus": _share, "threads": _count(1),
        "model_name": str, "api_key_file": _key,
    }  # fmt: skip
    found = {}
    for name, word in args.items():
        if name not in known:
            raise RequestError(f"{name}={word}: no such argument; known: {', '.join(known)}")
        try:
            found[name] = known[name](str(word))
        except ValueError as error:
            raise RequestError(f"{name}={word}: {error}") from None
    if not any(found.get("bundle", ())):
        raise RequestError("which bundle? name its folder, bundle=/path/to/bundle, or several with commas between")
    settings = Settings(key=found.pop("api_key_file", None))
    return Wanted(bundles=found.pop("bundle"), settings=settings, **found)


def _count(least: int) -> Callable[[str], int]:
    def read(word: str) -> int:
        if not word.isdecimal() or int(word) < least:
            raise ValueError(f"expected a whole number, {least} or more")
        return int(word)

    return read


def _share(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise ValueError("expected a number, 0 or more")
    return value


def _key(word: str) -> str:
    try:
        key = Path(word).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise ValueError(f"cannot be read ({error})") from None
    if not key:
        raise ValueError("is empty; expected a file with the key")
    return key
