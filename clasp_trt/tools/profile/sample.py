"""What one run gave."""

from __future__ import annotations

from dataclasses import dataclass

from clasp_trt.runtime.proposing.interface import Speculation
from clasp_trt.runtime.timing import Span
from clasp_trt.tools.profile.memory import Memory


@dataclass(frozen=True)
class Sample:
    """One answer.

    ``spans`` are the steps of :class:`clasp_trt.runtime.result.Result`, ``calls`` those of the graphs by their names.
    Both are on the clock of :func:`time.perf_counter`, which Linux shares between processes. ``memory`` is that of the
    process after the answer. ``speculation`` is that of the result.
    """

    category: str
    prompt_tokens: int
    visual_tokens: int
    ttft_ms: float
    spans: tuple[Span, ...]
    calls: tuple[Span, ...]
    memory: Memory
    speculation: Speculation | None = None

    @property
    def start(self) -> float:
        """When the request began."""
        return self.spans[0].start

    @property
    def first_token(self) -> float:
        """When the first token was there."""
        return self.start + self.ttft_ms / 1e3

    @property
    def end(self) -> float:
        """When the last token was there."""
        return self.spans[-1].end

    @property
    def steps(self) -> tuple[Span, ...]:
        """The steps after the first token."""
        return tuple(span for span in self.spans if span.name == "decode")

    @property
    def tpot_ms(self) -> float:
        """Milliseconds for each token after the first, which may be several of a step."""
        tokens = len(self.steps) if self.speculation is None else self.speculation.tokens
        return sum(step.milliseconds for step in self.steps) / tokens
