"""Which constraint a request puts on its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from clasp_trt.errors import PromptError
from clasp_trt.extras import needing
from clasp_trt.runtime.logits.choices import Choices
from clasp_trt.runtime.sampling import Constraint
from clasp_trt.runtime.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from clasp_trt.runtime.logits.grammar import Grammars


class Constraints:
    """Makes constraints in the tokens of one model, whose logits are ``[vocabulary]``."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[int], vocabulary: int) -> None:
        self._tokenizer, self._stops, self._vocabulary = tokenizer, stops, vocabulary

    def of(
        self, choices: Sequence[str] | None, regex: str | None, json_schema: Mapping[str, Any] | None
    ) -> Constraint | None:
        """The one that is given, None for none.

        Raises :class:`PromptError` for several, and for one that cannot be followed;
        :class:`~clasp_trt.errors.BackendError` where a grammar's library is not installed.
        """
        asked = {"choices": choices, "regex": regex, "json_schema": json_schema}
        given = [name for name, value in asked.items() if value is not None]
        if len(given) > 1:
            raise PromptError(f"{' and '.join(given)} are given; an answer is held to one of them")
        if choices is not None:
            return Choices(choices, self._tokenizer, self._stops, self._vocabulary)
        if regex is not None:
            return self._grammars.regex(regex)
        return None if json_schema is None else self._grammars.json_schema(json_schema)

    @cached_property
    def _grammars(self) -> Grammars:
        with needing("an answer held to a regular expression or a JSON schema", "grammar"):
            from clasp_trt.runtime.logits.grammar import Grammars

            return Grammars(self._tokenizer, self._stops, self._vocabulary)
