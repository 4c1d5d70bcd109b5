"""An answer in the making: what was prepared of its request, and what was said so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from clasp_trt.runtime.asked import Asked
from clasp_trt.runtime.encoded import Encoded, Fresh
from clasp_trt.runtime.event import Event
from clasp_trt.runtime.manner import Manner
from clasp_trt.runtime.proposing.interface import Proposer, Speculation
from clasp_trt.runtime.result import Kept, Result
from clasp_trt.runtime.routing.router import Route
from clasp_trt.runtime.sampling import Sampler
from clasp_trt.runtime.slots import Sequence
from clasp_trt.runtime.text.prompt import Prompt
from clasp_trt.runtime.text.wording import Wording
from clasp_trt.runtime.timing import Span, Timer


class CancelledError(Exception):
    """Ends a prefill whose answer nobody wants any more; it never leaves the runtime."""


@dataclass(eq=False)
class Draft:
    """A request that was read on the host, and its answer as far as it goes.

    ``limit`` is how many tokens the answer may have, ``room`` how many the caches hold beside the prompt, ``stops`` the
    tokens that end it; ``reused_images`` how many pictures were known already. ``proposer`` says what may follow, if
    several tokens a step are wanted; ``decoding`` are the steps, and ``given`` how many tokens each gave.
    """

    asked: Asked
    route: Route
    manner: Manner
    pictures: list[Encoded | Fresh]
    reused_images: int
    tokens: Prompt
    sampler: Sampler
    wording: Wording
    limit: int
    room: int
    stops: tuple[int, ...]
    timer: Timer
    proposer: Proposer | None = None
    speculation: Speculation = field(default_factory=Speculation)
    decoding: list[Span] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    sequence: Sequence | None = None
    kept: tuple[Kept, ...] = ()
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str | None = None

    def next_rows(self, most: int) -> list[int]:
        """The tokens that the next step computes, ``most`` at most: the last that was said, and those that are proposed
        to follow, of which none is beyond the end of the answer."""
        ids, left = self.ids[-1:], min(most, self.limit - len(self.ids)) - 1
        return [*ids, *self.proposer.propose(self.ids, left)] if self.proposer is not None and left > 0 else ids

    def stepped(self, span: Span, rows: int, tokens: int) -> None:
        """A step of so many rows gave so many tokens."""
        self.decoding.append(span)
        self.given.append(tokens)
        if self.proposer is not None:
            self.proposer.accepted(tokens - 1)
            found = self.speculation
            found.proposed, found.accepted = found.proposed + rows - 1, found.accepted + tokens - 1
            found.steps, found.tokens = found.steps + 1, found.tokens + tokens

    def say(self, token: int, logprob: float | None) -> Event:
        """Adds the token that was chosen."""
        self.ids.append(token)
        if logprob is not None:
            self.logprobs.append(logprob)
        is_stop = token in self.stops and not self.asked.ignore_stop
        text = "" if is_stop else self.wording.push(token)
        if is_stop or self.wording.stopped or self.sampler.complete:
            return self._finish("stop", token, text, logprob)
        if len(self.ids) == self.limit:
            return self._finish("length", token, text, logprob)
        if len(self.ids) > self.room:
            return self._finish("context", token, text, logprob)
        return Event(token, text, logprob)

    def cancel(self) -> Event:
        """Ends the answer where it is."""
        return self._finish("cancelled", None, "", None)

    def result(self) -> Result:
        """The finished answer."""
        assert self.finish_reason is not None, "it goes on"
        return Result(
            text=self.wording.text,
            token_ids=tuple(self.ids),
            finish_reason=self.finish_reason,
            route=self.route,
            kept=self.kept,
            prompt_tokens=len(self.tokens.input_ids),
            visual_tokens=len(self.tokens.visual_index),
            reused_images=self.reused_images,
            reused_tokens=0 if self.sequence is None else self.sequence.reused,
            timings_ms=self.timer.milliseconds,
            tpot_ms=tuple(
                span.milliseconds / count
                for span, count in zip(self.decoding, self.given, strict=True)
                for _ in range(count)
            ),
            spans=(*self.timer.spans, *self.decoding),
            generation=self.asked.generation,
            logprobs=tuple(self.logprobs),
            speculation=None if self.proposer is None else self.speculation,
        )

    def _finish(self, reason: str, token: int | None, text: str, logprob: float | None) -> Event:
        self.finish_reason = reason
        return Event(token, text + self.wording.finish(), logprob, reason)
