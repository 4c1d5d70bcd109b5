"""What is sent back, in OpenAI's shape; ``clasp`` is ours."""

from __future__ import annotations

import base64
import io
import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

from PIL import Image

from clasp_trt.methods import get
from clasp_trt.runtime.event import Event
from clasp_trt.runtime.overlay import overlay
from clasp_trt.runtime.result import Result
from clasp_trt.runtime.serving.house import Served

DONE = b"data: [DONE]\n\n"
_REASONS = {"context": "length"}  # the others are called alike
Body = dict[str, Any]


class Bodies:
    """Makes the bodies of one answer, whole or in chunks."""

    def __init__(self, served: Served, *, logprobs: bool) -> None:
        self._served, self._logprobs = served, logprobs
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": served.model}

    def whole(self, result: Result, events: Sequence[Event], clasp: Body) -> Body:
        """An answer at once."""
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": result.text, "refusal": None},
            "finish_reason": _reason(result.finish_reason),
            "logprobs": self._told(events),
        }
        return self._body("chat.completion", [choice], usage=usage(result), clasp=clasp)

    def first(self) -> Body:
        """The chunk that says who speaks."""
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, event: Event) -> Body | None:
        """What an event says, if it says something."""
        if not event.text and not self._logprobs:
            return None
        return self._chunk({"content": event.text}, logprobs=self._told([event]))

    def last(self, result: Result, clasp: Body) -> Body:
        """How the answer ended, and how it came about."""
        return {**self._chunk({}, finish=_reason(result.finish_reason)), "clasp": clasp}

    def used(self, result: Result) -> Body:
        """What was used, in a chunk of its own."""
        return self._body("chat.completion.chunk", [], usage=usage(result))

    def _chunk(self, delta: Body, *, finish: str | None = None, logprobs: Body | None = None) -> Body:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
        return self._body("chat.completion.chunk", [choice])

    def _body(self, kind: str, choices: list[Body], **more: Any) -> Body:
        return {**self._head, "object": kind, "choices": choices, **more}

    def _told(self, events: Sequence[Event]) -> Body | None:
        if not self._logprobs:
            return None
        return {"content": [self._token(each) for each in events if self._is_said(each)], "refusal": None}

    def _is_said(self, event: Event) -> bool:
        """Whether it has a token that is not the end."""
        stops = self._served.engine.bundle.manifest.model.stop_token_ids
        return event.token is not None and not (event.finish_reason == "stop" and event.token in stops)

    def _token(self, event: Event) -> Body:
        assert event.token is not None
        top = [{**self._spelled(token), "logprob": logprob} for token, logprob in event.top]
        return {**self._spelled(event.token), "logprob": event.logprob, "top_logprobs": top}

    def _spelled(self, token: int) -> Body:
        spelled = self._served.engine.spelling(token)
        return {"token": spelled.decode(errors="replace"), "bytes": list(spelled)}


def line(body: Body) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(body, ensure_ascii=False, allow_nan=False).encode() + b"\n\n"


def usage(result: Result) -> Body:
    """Tokens of the prompt, those of pictures among them, and of the answer."""
    prompt, made = result.prompt_tokens, len(result.token_ids)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": made,
        "total_tokens": prompt + made,
        "prompt_tokens_details": {"cached_tokens": result.reused_tokens},
    }


def told(served: Served, result: Result, method: str | None, *, indices: bool) -> Body:
    """How an answer came about: the field ``clasp``."""
    kept = []
    for stage in result.kept:
        said: Body = {
            "after_layer": stage.after_layer,
            **({} if stage.tower_block is None else {"tower_block": stage.tower_block}),
            "tokens": len(stage.indices),
            "pivots": int(stage.is_pivot.sum()),
        }
        if indices:
            said |= {"indices": stage.indices.tolist(), "is_pivot": stage.is_pivot.tolist()}
        kept.append(said)
    return {
        "category": result.category,
        "confidence": result.route.confidence,
        "method": method or served.engine.manner.method.name,
        "budget": served.budget,
        "visual_tokens": result.visual_tokens,
        "kept": kept,
        "reused_images": result.reused_images,
        "reused_tokens": result.reused_tokens,
        "tokens_per_second": round(result.tokens_per_second, 3),
        "timings_ms": {name: round(value, 3) for name, value in result.timings_ms.items()},
    }


def drawn(served: Served, result: Result, method: str | None, pictures: Sequence[Image.Image]) -> str:
    """What each stage kept of the pictures, as a ``data:`` URL of a PNG."""
    engine, several = served.engine, len(pictures) > 1
    seen = [engine.see(picture, several=several) for picture in pictures]
    chosen = engine.manner.method if method is None else get(method)
    file = io.BytesIO()
    overlay(seen, result, engine.bundle.manifest.schedule, chosen).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _reason(reason: str) -> str:
    return _REASONS.get(reason, reason)
