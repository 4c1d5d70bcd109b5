"""The tokens of one answer as text, piece by piece, up to a stop string."""

from __future__ import annotations

from collections.abc import Sequence

from clasp_trt.runtime.text.stops import StopStrings
from clasp_trt.runtime.text.tokenizer import Tokenizer


class Wording:
    """Text that is certain, as tokens come. The pieces of :meth:`push` and of :meth:`finish`, joined, are :attr:`text`
    in the end."""

    def __init__(self, tokenizer: Tokenizer, stop_strings: Sequence[str], prompt: Sequence[int]) -> None:
        self._tokenizer, self._decoder = tokenizer, tokenizer.stream()
        # asked for where there are strings alone: to begin with, spelling reads the whole tokenizer
        self._stops = StopStrings(stop_strings, lambda id: tokenizer.spelling(id), prompt)
        self._said: list[int] = []
        self.text = ""

    @property
    def stopped(self) -> bool:
        """Whether a stop string was spelled."""
        return self._stops.found

    def push(self, token: int) -> str:
        """Adds a token; returns what is certain now, often nothing."""
        return self._say(self._stops.push(token))

    def finish(self) -> str:
        """The rest, once no more tokens come."""
        piece = self._say(self._stops.finish()) + self._decoder.finish()
        rest = self._stops.rest
        whole = self._tokenizer.decode(self._said)
        if rest and not whole and self._tokenizer.strips:
            rest = rest.removeprefix(" ")
        self.text = whole + rest
        return piece + rest

    def _say(self, tokens: Sequence[int]) -> str:
        self._said += tokens
        return "".join(map(self._decoder.push, tokens))
