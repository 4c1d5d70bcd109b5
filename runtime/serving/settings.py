"""How much a server takes of strangers, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, field

MIB = 2**20


@dataclass(frozen=True)
class Settings:
    """Bounds and secrets of a server; sizes in bytes, times in seconds.

    Attributes:
        key: what a request under ``/v1/`` must bring as its bearer token; None lets everybody ask.
        max_body: of a request.
        max_image_pixels: width times height of a picture.
        max_image_bytes: of a picture, encoded.
        max_tokens: that an answer may be asked to have; None is as the bundle says.
        body_timeout: until a request has arrived.
        queue_timeout: until a request has a slot.
        request_timeout: until an answer is whole.
        drain_timeout: for what is under way when the server is asked to end.
        image_hosts: from which pictures are fetched; without any, none are.
        image_timeout: to fetch a picture.
        max_open: requests that are read at a time.
        stuck_after: since the last sign of life until ``/health`` says so.
        stuck_exit: the same until the process ends.
    """

    key: str | None = field(default=None, repr=False)
    max_body: int = 20 * MIB
    max_image_pixels: int = 25_000_000
    max_image_bytes: int = 20 * MIB
    max_tokens: int | None = None
    body_timeout: float = 30.0
    queue_timeout: float = 60.0
    request_timeout: float = 600.0
    drain_timeout: float = 60.0
    image_hosts: tuple[str, ...] = ()
    image_timeout: float = 10.0
    max_open: int = 256
    stuck_after: float = 60.0
    stuck_exit: float = 180.0
