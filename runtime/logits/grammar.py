"""An answer that a regular expression or a JSON schema describes: masks of llguidance, the extra ``grammar``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.brief import shown
from clasp_trt.errors import PromptError
from clasp_trt.runtime.text.tokenizer import Tokenizer

_REASON = 200
"""Characters of the library's own words in an error."""


class Grammars:
    """Makes grammars for answers in the tokens of one model; what they share is made once."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[int], vocabulary: int) -> None:
        self._stops, self._vocabulary = [stop for stop in stops if stop < vocabulary], vocabulary
        import llguidance  # here, for only those who ask for such answers have it

        self._matcher: Any = llguidance.LLMatcher
        self._tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Tokens(tokenizer, vocabulary)))
        # decoding takes away the space in front of a first word, which models are used to put there
        self._lead = " ?" if tokenizer.strips else ""

    def regex(self, pattern: str) -> Grammar:
        """Answers that ``pattern`` describes as a whole, in the syntax of Rust's ``regex``. Raises
        :class:`PromptError` for one that it does not take."""
        given: object = pattern
        if not isinstance(given, str) or not _is_text(given) or not _unanchored(given):
            raise PromptError(f"regex is {given!r}; expected a pattern that is not empty")
        match, pattern = self._matcher, _unanchored(given)
        self._check("regex", match.grammar_from_regex(pattern))
        return self._made("regex", match.grammar_from_regex(f"{self._lead}(?:{pattern})" if self._lead else pattern))

    def json_schema(self, schema: Mapping[str, Any]) -> Grammar:
        """Answers that are JSON of a schema, on one line. Raises :class:`PromptError` for a schema that is none, or
        has keywords that are not supported."""
        try:
            text = json.dumps({"x-guidance": {"whitespace_flexible": False}, **schema}, allow_nan=False)
        except (TypeError, ValueError):
            raise PromptError("json_schema is no JSON object; expected a schema as a dict") from None
        except RecursionError:
            raise PromptError("json_schema is nested too deeply; give a simpler one") from None
        lark = f"start: lead body\nlead: /{self._lead}/\nbody: %json {text}" if self._lead else f"start: %json {text}"
        return self._made("json_schema", self._matcher.grammar_from_lark(lark))

    def _made(self, name: str, grammar: str) -> Grammar:
        self._check(name, grammar)
        return Grammar(self._matcher(self._tokenizer, grammar, log_level=0), self._stops, self._vocabulary)

    def _check(self, name: str, grammar: str) -> None:
        if reason := self._matcher(self._tokenizer, grammar, log_level=0).get_error():
            raise PromptError(f"{name} cannot be followed: {_brief(reason)}; give another")


class Grammar:
    """See :class:`clasp_trt.runtime.sampling.Constraint`."""

    def __init__(self, matcher: Any, stops: Sequence[int], vocabulary: int) -> None:
        self._matcher, self._stops, self._vocabulary = matcher, list(stops), vocabulary

    def allowed(self) -> NDArray[np.bool_]:
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little").astype(bool)
        self._check()
        found: NDArray[np.bool_] = bits[: self._vocabulary].copy()
        found[self._stops] = bits[self._vocabulary]  # the end of a text, which no token spells
        return found

    def accept(self, token: int) -> None:
        if token not in self._stops:
            self._matcher.consume_token(token)
            self._check()

    @property
    def complete(self) -> bool:
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        if reason := self._matcher.get_error():
            dead = "NoExtension" in reason
            why = "the model's tokens do not spell what must follow" if dead else _brief(reason)
            raise PromptError(f"the answer cannot be held to its form: {why}; give another")


class _Tokens:
    """What llguidance asks of a tokenizer: every token's bytes, and one more token that stands for the end."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, vocabulary: int) -> None:
        self.eos_token_id = vocabulary
        self.tokens = [*map(tokenizer.spelling, range(vocabulary)), b"<end of text>"]
        self.special_token_ids = [*(id for id in range(vocabulary) if tokenizer.is_special(id)), vocabulary]
        special = {*self.special_token_ids}
        self._by_bytes = {spelled: id for id, spelled in enumerate(self.tokens) if spelled and id not in special}
        self._longest = max(map(len, self._by_bytes), default=0)

    def __call__(self, text: bytes) -> list[int]:
        """Tokens of a piece of a text, the longest first; it ends where none fits."""
        found, at = list[int](), 0
        while at < len(text):
            sizes = range(min(self._longest, len(text) - at), 0, -1)
            size = next((size for size in sizes if text[at : at + size] in self._by_bytes), None)
            if size is None:
                break
            found.append(self._by_bytes[text[at : at + size]])
            at += size
        return found


def _is_text(pattern: str) -> bool:
    try:
        return bool(pattern.encode())
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _unanchored(pattern: str) -> str:
    """Without anchors at its ends: a pattern is for the whole answer, and says nothing more with them."""
    body = pattern.removeprefix("^")
    before = body.removesuffix("$")
    escaped = (len(before) - len(before.rstrip("\\"))) % 2 == 1  # then the last is a dollar
    return body if escaped else before


def _brief(reason: str) -> str:
    return shown(" ".join(reason.partition("<state>")[0].split())[:_REASON])
