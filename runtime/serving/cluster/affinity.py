"""Which replica is asked about a picture: the one that has its features, as long as replicas do not change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator


def picture_key(body: bytes) -> str | None:
    """What two requests about the same pictures have in common: a SHA-256 of the addresses of all pictures, which hold
    the pictures themselves; None for a body without any, or that nobody can read."""
    try:
        found = list(_addresses(json.loads(body)))
    except (ValueError, RecursionError):
        return None
    if not found:
        return None
    return hashlib.sha256("\n".join(found).encode("utf-8", "surrogatepass")).hexdigest()


def ranked(key: str, replicas: Iterable[str]) -> list[str]:
    """``replicas`` by how much each is preferred for ``key``, by rendezvous hashing: where one comes or goes, only the
    keys that it gets or had are asked of another."""
    return sorted(replicas, key=lambda name: hashlib.sha256(f"{key} {name}".encode()).digest(), reverse=True)


def _addresses(body: object) -> Iterator[str]:
    messages = body.get("messages") if isinstance(body, dict) else None
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            for kind in ("image_url", "video_url"):
                link = part.get(kind) if isinstance(part, dict) else None
                if isinstance(link, dict) and isinstance(link.get("url"), str):
                    yield link["url"]
