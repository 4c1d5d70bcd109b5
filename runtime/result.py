"""What a request gives back."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clasp_trt.generation import Generation
from clasp_trt.runtime.proposing.interface import Speculation
from clasp_trt.runtime.routing.router import Route
from clasp_trt.runtime.timing import Span


@dataclass(frozen=True)
class Kept:
    """The visual tokens that one stage kept.

    ``indices`` is int64 ``[keep]``, ascending indices into the request's visual tokens in the order of the
    prompt; ``is_pivot`` is bool
    ``[keep]``: true for attention pivots, false for medoids. The stage stands after decoder layer ``after_layer``, or
    before the decoder where that is -1: there, after ``tower_block`` of the vision tower if that is a number, and
    nothing is a pivot or a medoid.
    """

    after_layer: int
    indices: NDArray[np.int64]
    is_pivot: NDArray[np.bool_]
    tower_block: int | None = None

    @property
    def place(self) -> str:
        """Where it stands, for people."""
        if self.tower_block is not None:
            return f"after block {self.tower_block} of the tower"
        return "before the decoder" if self.after_layer < 0 else f"after layer {self.after_layer}"


@dataclass(frozen=True)
class Result:
    """An answer and how it came about.

    ``timings_ms`` holds milliseconds per step of the chain until the first token, and their span ``ttft``; ``tpot_ms``
    those of each later token, an equal share where a step gave several. ``finish_reason`` is ``stop`` (a stop token or
    string, or a constraint that is fulfilled), ``length`` (``max_new_tokens`` or ``max_length``), ``context`` (the
    bundle's ``max_context`` is full) or ``cancelled`` (it was ended from outside; before its first token there is no
    ``ttft``). ``text`` ends before what stopped it; ``token_ids`` hold that too. ``spans`` say when each step ran:
    those until the first token, then one ``decode`` for each later step. ``generation`` are the settings that held.
    ``reused_images`` is how many images the vision graph had seen before, so that it did not run for them, and
    ``reused_tokens`` how many of the prompt's tokens were in the decoder's caches. ``logprobs`` are the
    log-probabilities of the tokens, if they were asked for (:class:`clasp_trt.runtime.event.Event`). ``speculation``
    counts the tokens that were proposed, None where none were to be.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: str
    route: Route
    kept: tuple[Kept, ...]
    prompt_tokens: int
    visual_tokens: int
    timings_ms: dict[str, float]
    tpot_ms: tuple[float, ...] = field(repr=False)
    spans: tuple[Span, ...] = field(default=(), repr=False)
    generation: Generation = field(default=Generation(), repr=False)
    reused_images: int = 0
    reused_tokens: int = 0
    logprobs: tuple[float, ...] = field(default=(), repr=False)
    speculation: Speculation | None = None

    @property
    def category(self) -> str:
        """Name of the prompt's category."""
        return self.route.name

    @property
    def tokens_per_second(self) -> float:
        """Rate of decoding after the first token; 0 if there was only one."""
        return len(self.tpot_ms) * 1e3 / sum(self.tpot_ms) if self.tpot_ms else 0.0
