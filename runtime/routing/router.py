"""Prompt to category (Eq. 7): which row of the policy a prompt is answered with.

The router reads text alone. When unsure it answers Default: that degrades gently, a wrong category does not
(Table 22 of the paper).
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from clasp_trt.errors import PolicyError
from clasp_trt.runtime.routing.rules import BOILERPLATE, RULES

MAX_CHARACTERS = 2000
"""Of a longer prompt the two ends are read: questions stand at one of them. This bounds the time."""

_DOUBT = 1.0  # log-odds of "none of them", against the 0 of a category for which nothing speaks
_CEILING = 6.0  # of one category's evidence, so that saying a thing often does not outvote saying another clearly


@dataclass(frozen=True)
class Route:
    """A decision.

    Attributes:
        category: index into the policy's categories.
        name: that category's name.
        confidence: 0..1; of the category chosen, or for Default that no other could be trusted.
        why: the evidence, strongest first, such as ``"counting: how many"``; also what was not enough.
        probabilities: 0..1 for each category in the policy's order, sum 1. The largest need not be the category
            chosen: what does not reach the threshold is answered as Default.
    """

    category: int
    name: str
    confidence: float
    why: tuple[str, ...]
    probabilities: tuple[float, ...]


class Router(Protocol):
    """Anything that maps a prompt to a category."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its categories, in the policy's order; the last is Default."""
        ...

    def route(self, prompt: str) -> Route:
        """Never raises, whatever the string; time is bounded."""
        ...


class OwnRouter(Router, Protocol):
    """A router that we opened, and close."""

    def close(self) -> None:
        """Gives back what it holds; then :meth:`route` may raise :class:`clasp_trt.errors.BackendError`."""


def forced(names: Sequence[str], category: int) -> Route:
    """The decision of somebody who knows."""
    certain = tuple(float(index == category) for index in range(len(names)))
    return Route(category, names[category], 1.0, ("forced",), certain)


def decided(names: Sequence[str], probabilities: Sequence[float], threshold: float, why: tuple[str, ...] = ()) -> Route:
    """The decision that a classifier's probabilities stand for: the likeliest category if it reaches ``threshold``,
    else Default.

    ``names`` and ``probabilities`` ``[categories]`` are in the policy's order.
    """
    last = len(names) - 1
    best = max(range(last), key=lambda index: probabilities[index], default=last)
    rival = probabilities[best] if best != last else 0.0
    if best != last and rival >= threshold and rival >= probabilities[last]:
        return Route(best, names[best], rival, why, tuple(probabilities))
    return Route(last, names[last], 1 - rival, why, tuple(probabilities))


def ends(prompt: str) -> str:
    """At most :data:`MAX_CHARACTERS` of a prompt, from both of its ends."""
    if len(prompt) <= MAX_CHARACTERS:
        return prompt
    return f"{prompt[: MAX_CHARACTERS // 2]}\n{prompt[-MAX_CHARACTERS // 2 :]}"


class RuleRouter:
    """A router of hand-written rules (:mod:`clasp_trt.runtime.routing.rules`), English and Chinese.

    The paper routes with an instruction-following language model; this needs nothing but the program, and answers for
    bundles that bring no router of their own (:mod:`clasp_trt.runtime.routing.folder`). Evidence for a category is the
    sum of the weights of its rules that match, capped; confidence is the softmax over all categories and doubt. Below
    the policy's threshold, and for a category that the policy does not have under the paper's name, the answer is
    Default, whose probability is that of doubt and of all that the policy does not have. No other name is ever reached:
    :func:`unreached` lists them.
    """

    def __init__(self, names: Sequence[str], threshold: float) -> None:
        """
        Args:
            names: the policy's category names in order; the last is Default.
            threshold: least confidence of a category other than Default, 0..1.

        Raises:
            PolicyError: no names, or a threshold that is no probability.
        """
        if not names:
            raise PolicyError("the router needs the policy's category names, the last of them Default; it got none")
        if not 0 <= threshold <= 1:
            raise PolicyError(f"the router's threshold is {threshold!r}; expected 0 to 1")
        self._names = tuple(names)
        self._threshold = threshold

    @property
    def names(self) -> tuple[str, ...]:
        """See :class:`Router`."""
        return self._names

    def close(self) -> None:
        """See :class:`OwnRouter`; rules hold nothing."""

    def route(self, prompt: str) -> Route:
        """Decide; see :class:`Router`."""
        scores, why = _evidence(_clean(prompt))
        best = max(scores, key=lambda name: scores[name])
        total = sum(math.exp(score) for score in scores.values()) + math.exp(_DOUBT)
        shares = {name: math.exp(score) / total for name, score in scores.items()}
        last = len(self._names) - 1
        known = [shares.get(name, 0.0) for name in self._names[:last]]
        probabilities = (*known, max(0.0, 1 - sum(known)))
        if scores[best] > 0 and shares[best] >= self._threshold:
            if best in self._names[:last]:
                return Route(self._names.index(best), best, shares[best], why, probabilities)
            why = (f"the policy has no category {best!r}", *why)
        # what speaks for a category that the policy lacks is no doubt about Default
        return Route(last, self._names[last], 1 - max(known, default=0.0), why, probabilities)


def unreached(names: Sequence[str]) -> tuple[str, ...]:
    """Those of a policy's category names that :class:`RuleRouter` never answers with, whatever the prompt.

    ``names`` is in the policy's order; the last, Default, is always reached.
    """
    ruled = {name for name, _, _ in RULES}
    return tuple(name for name in names[:-1] if name not in ruled)


def _clean(prompt: str) -> str:
    """Both ends of a long prompt, normalised, without answer formats."""
    text = unicodedata.normalize("NFKC", ends(prompt)).lower()
    text = text[: 2 * MAX_CHARACTERS]  # one character may have become eighteen
    for pattern in _compiled()[0]:
        text = pattern.sub(" ", text)
    return " ".join(text.split())


def _evidence(text: str) -> tuple[dict[str, float], tuple[str, ...]]:
    """Scores per category, and what they rest on, strongest first."""
    scores: dict[str, float] = {name: 0.0 for name, _, _ in RULES}
    found: list[tuple[float, str]] = []
    for name, weight, pattern in _compiled()[1]:
        match = pattern.search(text)
        if match:
            scores[name] = min(_CEILING, scores[name] + weight)
            found.append((weight, f"{name}: {match[0].strip()[:60]}"))
    found.sort(key=lambda item: -item[0])
    return scores, tuple(reason for _, reason in found)


@functools.cache
def _compiled() -> tuple[tuple[re.Pattern[str], ...], tuple[tuple[str, float, re.Pattern[str]], ...]]:
    rules = tuple((name, weight, re.compile(pattern)) for name, weight, pattern in RULES)
    return tuple(re.compile(pattern) for pattern in BOILERPLATE), rules
