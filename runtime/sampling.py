"""The next token from a row of logits: the likeliest, or a seeded draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clasp_trt.errors import BackendError, PromptError
from clasp_trt.generation import WARPERS, Generation
from clasp_trt.runtime.logits.processors import Process
from clasp_trt.runtime.logits.warpers import most, softmax, warpers


class OverflowedError(BackendError):
    """Logits that are no numbers; ``what`` says which."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the decoder returned {what}: the computation overflowed; "
            "try another precision (fp32, or bf16 instead of fp16)"
        )


def _is_real(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _within(low: float, high: float, *, above: bool = False) -> Callable[[object], bool]:
    return lambda value: _is_real(value) and (low < value if above else low <= value) and value <= high  # type: ignore[operator]


_RULES: dict[str, tuple[Callable[[object], bool], str]] = {
    "temperature": (_within(0, 100), "0 (greedy) to 100"),
    "top_p": (_within(0, 1, above=True), "above 0 and at most 1 (off)"),
    "min_p": (_within(0, 1), "0 (off) to 1"),
    "typical_p": (_within(0, 1, above=True), "above 0 and at most 1 (off)"),
    "repetition_penalty": (_within(0, math.inf, above=True), "a number above 0; 1 is off"),
    "presence_penalty": (_within(-2, 2), "-2 to 2; 0 is off"),
    "frequency_penalty": (_within(-2, 2), "-2 to 2; 0 is off"),
}


_OWN = ("seed", "presence_penalty", "frequency_penalty")
"""What a request has and a bundle has not."""


@dataclass(frozen=True)
class Sampling:
    """How a request wants its tokens chosen. What is None is as the bundle says: see :class:`Generation`.

    Attributes:
        temperature: divides the logits, and makes an answer one of draws; 0 takes the likeliest token, whatever else
            is said.
        top_p: above 0 to 1 (off).
        top_k: 0 is off.
        min_p: 0 (off) to 1.
        typical_p: above 0 to 1 (off).
        repetition_penalty: above 0; 1 is off.
        no_repeat_ngram_size: 0 is off.
        min_new_tokens: 0 is off.
        presence_penalty: taken from the logit of each token that the answer has, -2 to 2; 0 is off.
        frequency_penalty: the same for each time that the answer has it.
        seed: of the generator (PCG64); None draws one from the operating system.

    Raises:
        PromptError: a field out of range. These values arrive with a prompt, so they are a mistake of its
            author.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    min_new_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            legal, expected = _RULES.get(name, (_is_whole, "a whole number, 0 or more"))
            if value is not None and not legal(value):
                raise PromptError(f"{name} is {value!r}; expected {expected}")

    def over(self, generation: Generation) -> Generation:
        """The settings of a bundle with those of this request in their place.

        Raises :class:`PromptError` for a setting of sampling alone where the likeliest token is taken.
        """
        given = {name: value for name, value in vars(self).items() if value is not None and name not in _OWN}
        if self.temperature is not None:
            given["do_sample"] = self.temperature > 0
            if self.temperature == 0:
                del given["temperature"]
        elif not generation.do_sample and (idle := [name for name in given if name in WARPERS]):
            raise PromptError(
                f"{idle[0]} is for sampling, but the answer is greedy; give a temperature above 0, or leave it out"
            )
        return replace(generation, **given)


GREEDY = Sampling(temperature=0)
"""The likeliest token, whatever the bundle says; its other settings hold."""


class Constraint(Protocol):
    """What an answer may be, asked token by token."""

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may come next, bool ``[vocabulary]``; stop tokens where the answer may end."""

    def accept(self, token: int) -> None:
        """Hears of the token that was chosen."""

    @property
    def complete(self) -> bool:
        """Whether the answer is whole and nothing can follow."""


class Sampler:
    """Chooses token after token; equal settings, an equal seed and equal logits give equal tokens.

    ``processors`` see the ids of ``prompt``, int64 ``[ids]``, and of the answer; a ``constraint`` has the last word.
    """

    def __init__(
        self,
        generation: Generation | None = None,
        *,
        seed: int | None = None,
        prompt: NDArray[np.int64] | None = None,
        processors: Sequence[Process] = (),
        constraint: Constraint | None = None,
    ) -> None:
        self.generation = Generation() if generation is None else generation
        self._processors, self._constraint = processors, constraint
        self._ids: list[int] = [] if prompt is None else prompt.tolist()
        self._warpers = warpers(self.generation)
        self._generator = np.random.Generator(np.random.PCG64(seed))

    @property
    def argmax(self) -> bool:
        """Whether the token is always the likeliest of the logits as they are."""
        return not (self.generation.do_sample or self._processors or self._constraint)

    @property
    def complete(self) -> bool:
        """Whether a constraint says that the answer is whole."""
        return self._constraint is not None and self._constraint.complete

    def next(self, logits: NDArray[np.float32]) -> int:
        """Choose from `logits`, float32 ``[vocab]``; minus infinity forbids a token. Equal logits: the lowest
        index.

        Raises:
            BackendError: `logits` is not one row, holds NaN or plus infinity, or forbids every token.
            PromptError: what the settings and the constraint forbid is every token, or a setting is so great that a
                logit overflows.
        """
        if logits.ndim != 1 or logits.size == 0:
            raise BackendError(f"the decoder returned logits of shape {logits.shape}; expected [vocab]")
        best = int(np.argmax(logits))  # NaN wins an argmax, and so does plus infinity: one look finds any
        if not math.isfinite(logits[best]):
            raise OverflowedError(f"{logits[best]} as its largest logit")
        if self.argmax:
            return best
        token = self._choose(self._processed(logits))
        self._ids.append(token)
        if self._constraint is not None:
            self._constraint.accept(token)
        return token

    def distribution(self, logits: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """What a draw is from, for valid `logits`.

        Returns:
            The tokens kept, int64 ``[kept]``, and their probabilities, float64 ``[kept]``, sum 1: most likely first,
            or if nothing is cut in the order of the tokens.
        """
        least, count = -np.inf, most(self.generation)
        if count is not None and count < logits.size:  # for a vocabulary is long to sort
            least = np.partition(logits, -count)[-count]
        possible = np.flatnonzero((logits >= least) & (logits > -np.inf))
        tokens = possible[np.argsort(-logits[possible], kind="stable")] if self._warpers else possible
        ranked = logits[tokens].astype(np.float64)
        with np.errstate(over="ignore"):  # a tiny temperature sends the others to minus infinity, which is right
            ranked = (ranked - ranked.max()) / self.generation.temperature
        for warp in self._warpers:
            keep = warp(ranked)
            tokens, ranked = tokens[keep], ranked[keep]
        return tokens.astype(np.int64), softmax(ranked)

    def _processed(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        logits, ids = np.array(logits, np.float32), np.array(self._ids, np.int64)
        with np.errstate(all="ignore"):  # what overflows is told below
            for process in self._processors:
                logits = process(ids, logits)
        if self._constraint is not None:
            logits[~self._constraint.allowed()] = -np.inf
        best, settings = float(logits.max()), ", ".join(self.generation.effective())
        if best == -np.inf:
            also = " with what the answer may be" if self._constraint is not None else ""
            raise PromptError(
                f"no token is left to choose: the settings ({settings}){also} forbid all of them; give others"
            )
        if not math.isfinite(best):
            raise PromptError(f"the settings ({settings}) make a logit {best}; give values nearer to 1")
        return logits

    def _choose(self, logits: NDArray[np.float32]) -> int:
        if not self.generation.do_sample:
            return int(np.argmax(logits))
        tokens, probabilities = self.distribution(logits)
        edges = np.cumsum(probabilities)
        at = int(np.searchsorted(edges, self._generator.random() * edges[-1], side="right"))
        return int(tokens[min(at, tokens.size - 1)])  # the product may round up to the last edge itself
