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
from clasp_trt.runtime.router_rules import BOILERPLATE, RULES

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
    """

    category: int
    name: str
    confidence: float
    why: tuple[str, ...]


class Router(Protocol):
    """Anything that maps a prompt to a category."""

    def route(self, prompt: str) -> Route:
        """Never raises, whatever the string; time is bounded."""
        ...


class RuleRouter:
    """A router of hand-written rules (:mod:`clasp_trt.runtime.router_rules`), English and Chinese.

    The paper routes with an instruction-following language model; this stands in until a learned router takes
    its place behind the same :class:`Router`. Evidence for a category is the sum of the weights of its rules
    that match, capped; confidence is the softmax over all categories and doubt. Below the policy's threshold,
    and for a category that the policy does not have under the paper's name, the answer is Default. No other name is
    ever reached: :func:`unreached` lists them.
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
        self.names = tuple(names)
        self.threshold = threshold

    def route(self, prompt: str) -> Route:
        """Decide; see :class:`Router`."""
        scores, why = _evidence(_clean(prompt))
        best = max(scores, key=lambda name: scores[name])
        total = sum(math.exp(score) for score in scores.values()) + math.exp(_DOUBT)
        confidence = math.exp(scores[best]) / total
        known = set(self.names[:-1])
        if scores[best] > 0 and confidence >= self.threshold:
            if best in known:
                return Route(self.names.index(best), best, confidence, why)
            why = (f"the policy has no category {best!r}", *why)
        # what speaks for a category that the policy lacks is no doubt about Default
        rival = max((math.exp(score) / total for name, score in scores.items() if name in known), default=0.0)
        return Route(len(self.names) - 1, self.names[-1], 1 - rival, why)


def unreached(names: Sequence[str]) -> tuple[str, ...]:
    """Those of a policy's category names that :class:`RuleRouter` never answers with, whatever the prompt.

    ``names`` is in the policy's order; the last, Default, is always reached.
    """
    ruled = {name for name, _, _ in RULES}
    return tuple(name for name in names[:-1] if name not in ruled)


def _clean(prompt: str) -> str:
    """Both ends of a long prompt, normalised, without answer formats."""
    if len(prompt) > MAX_CHARACTERS:
        prompt = f"{prompt[: MAX_CHARACTERS // 2]}\n{prompt[-MAX_CHARACTERS // 2 :]}"
    text = unicodedata.normalize("NFKC", prompt).lower()[: 2 * MAX_CHARACTERS]  # one character may become eighteen
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
