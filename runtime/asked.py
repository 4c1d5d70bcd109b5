"""What a request asks for besides its picture, checked and resolved against what the bundle says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clasp_trt.errors import PromptError
from clasp_trt.generation import Generation
from clasp_trt.runtime.logits.constraint import Constraints
from clasp_trt.runtime.sampling import Constraint, Sampling
from clasp_trt.runtime.text.messages import Dialogue
from clasp_trt.speculation import MOST

DEFAULT_MAX_NEW_TOKENS = 256
"""Where an answer ends if neither the request nor the bundle says."""
MOST_TOP = 20
"""Likeliest tokens that can be told beside each."""


@dataclass(frozen=True, eq=False)
class Asked:
    """A request. ``generation`` is how its tokens are chosen, with ``seed`` for draws; a ``constraint`` says what its
    answer may be. The penalties are those of :class:`Sampling`. ``category`` is None where the router decides.
    ``cancelled`` is asked again and again whether the answer is to end."""

    prompt: str | Dialogue
    generation: Generation
    seed: int | None
    constraint: Constraint | None
    category: str | None
    ignore_stop: bool
    logprobs: bool
    cancelled: Callable[[], bool]
    lookup: int = 0
    draft: int = 0
    top_logprobs: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0

    @property
    def text(self) -> str:
        """What is asked, in the last message if there are several."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt.asked

    def limit(self, prompt: int) -> int:
        """How many tokens the answer to a prompt of so many may have. Raises :class:`PromptError` if that is none."""
        most, whole = self.generation.max_new_tokens, self.generation.max_length
        if most is not None or whole is None:
            return most or DEFAULT_MAX_NEW_TOKENS
        if whole <= prompt:
            raise PromptError(
                f"the prompt has {prompt} tokens, but the bundle's max_length is {whole}; shorten it, or say how long "
                "the answer may be (max_new_tokens)"
            )
        return whole - prompt


def request(
    prompt: str | Dialogue,
    settings: Generation,
    constraints: Constraints,
    *,
    max_new_tokens: int | None = None,
    sampling: Sampling | None = None,
    stop: Sequence[str] | None = None,
    choices: Sequence[str] | None = None,
    regex: str | None = None,
    json_schema: Mapping[str, Any] | None = None,
    category: str | None = None,
    ignore_stop: bool = False,
    logprobs: bool = False,
    top_logprobs: int = 0,
    cancelled: Callable[[], bool] | None = None,
    lookup: int | None = None,
    draft: int | None = None,
) -> Asked:
    """What the keywords of :meth:`Pipeline.stream` ask for, where a bundle's own ``settings`` hold otherwise. Raises
    :class:`PromptError`."""
    generation = resolved(settings, sampling, max_new_tokens, stop)
    constraint = constraints.of(choices, regex, json_schema)
    if constraint is not None:
        if ignore_stop:
            raise PromptError("ignore_stop is for answers of any kind, but this one is held to what it may be")
        generation = replace(generation, forced_eos_token_ids=())  # the constraint says how answers end
    if cancelled is not None and not callable(cancelled):
        raise PromptError(f"cancelled is {cancelled!r}; expected a function that says whether the answer is to end")
    for name, count in (("lookup", lookup), ("draft", draft)):
        if count is not None and (type(count) is not int or not 0 <= count <= MOST):
            raise PromptError(f"{name} is {count!r}; expected how many tokens to propose for a step, 0 (off) to {MOST}")
    if lookup and draft:
        raise PromptError("lookup and draft are given; tokens are proposed by one of them")
    if type(top_logprobs) is not int or not 0 <= top_logprobs <= MOST_TOP:
        raise PromptError(f"top_logprobs is {top_logprobs!r}, expected a whole number from 0 to {MOST_TOP}")
    own = sampling or Sampling()
    return Asked(
        prompt, generation, own.seed, constraint, category, ignore_stop,
        logprobs=logprobs or top_logprobs > 0, cancelled=cancelled or _never, lookup=lookup or 0, draft=draft or 0,
        top_logprobs=top_logprobs,
        presence_penalty=own.presence_penalty or 0.0, frequency_penalty=own.frequency_penalty or 0.0,
    )  # fmt: skip


def _never() -> bool:
    return False


def resolved(
    generation: Generation, sampling: Sampling | None, max_new_tokens: int | None, stop: Sequence[str] | None
) -> Generation:
    """The settings ``generation`` of a bundle with a request's own in their place. Raises :class:`PromptError`."""
    chosen = (sampling or Sampling()).over(generation)
    if max_new_tokens is not None:
        if type(max_new_tokens) is not int or max_new_tokens < 1:
            raise PromptError(f"max_new_tokens is {max_new_tokens!r}, expected a whole number of at least 1")
        chosen = replace(chosen, max_new_tokens=max_new_tokens)
    if stop is not None:
        chosen = replace(chosen, stop_strings=_strings(stop))
    return chosen


def _strings(stop: object) -> tuple[str, ...]:
    strings = tuple(stop) if isinstance(stop, Sequence) and not isinstance(stop, (str, bytes)) else ("",)
    try:
        if all(isinstance(each, str) and each.encode() for each in strings):
            return strings
    except UnicodeEncodeError:  # half of a surrogate pair, which no token spells
        pass
    raise PromptError(f"stop is {stop!r}; expected a list of strings that are not empty")
