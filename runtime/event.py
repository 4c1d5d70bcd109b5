"""What becomes of a request, step by step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """A token of an answer, ``text`` that is certain with it, often none, and its ``logprob`` if that was asked for:
    the natural logarithm of its probability by the logits as the decoder gave them, before any setting.

    ``top`` are the likeliest tokens by the same logits, as many as were asked for, each with its own logarithm.
    ``finish_reason`` is None until the last event, see :class:`clasp_trt.runtime.result.Result`. That of an answer that
    was ended from outside has no token.
    """

    token: int | None
    text: str
    logprob: float | None = None
    finish_reason: str | None = None
    top: tuple[tuple[int, float], ...] = ()
