"""An answer that is one of some texts: a trie of their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clasp_trt.errors import PromptError
from clasp_trt.runtime.text.tokenizer import Tokenizer


@dataclass
class _Node:
    """What may follow, and whether a text ends here."""

    children: dict[int, _Node] = field(default_factory=dict)
    ends: bool = False


class Choices:
    """See :class:`clasp_trt.runtime.sampling.Constraint`: each text in the tokens that the tokenizer makes of it.

    Where a text may end or go on, the model decides by a stop token; where nothing can follow, the answer is complete.
    """

    def __init__(self, texts: Sequence[str], tokenizer: Tokenizer, stops: Sequence[int], vocabulary: int) -> None:
        """Raises :class:`PromptError` for no texts, for one that is empty or that the tokenizer cannot spell, and,
        where there are no ``stops``, for one that begins another."""
        self._stops, self._vocabulary = [stop for stop in stops if stop < vocabulary], vocabulary
        given: object = texts
        if (
            not isinstance(given, (list, tuple))
            or not given
            or not all(isinstance(each, str) and each for each in given)
        ):
            raise PromptError(f"choices are {given!r}; expected a list of one or more texts that are not empty")
        self._node = _Node()
        for text in texts:
            ids = tokenizer.encode(text, add_special_tokens=False)
            if tokenizer.decode(ids) != text or max(ids) >= vocabulary or not {*ids}.isdisjoint(stops):
                raise PromptError(f"the choice {text!r} cannot be spelled in the model's tokens; give another text")
            self._add(ids)
        if not self._stops:
            self._refuse_beginnings(self._node, tokenizer, [])

    def allowed(self) -> NDArray[np.bool_]:
        found = np.zeros(self._vocabulary, bool)
        found[list(self._node.children)] = True
        if self._node.ends:
            found[self._stops] = True
        return found

    def accept(self, token: int) -> None:
        self._node = self._node.children.get(token, _Node(ends=True))

    @property
    def complete(self) -> bool:
        return not self._node.children

    def _add(self, ids: Sequence[int]) -> None:
        node = self._node
        for id in ids:
            node = node.children.setdefault(id, _Node())
        node.ends = True

    def _refuse_beginnings(self, node: _Node, tokenizer: Tokenizer, ids: list[int]) -> None:
        if node.ends and node.children:
            raise PromptError(
                f"the choice {tokenizer.decode(ids)!r} begins another, and the model has no stop token to tell them "
                "apart; give choices that do not"
            )
        for id, child in node.children.items():
            self._refuse_beginnings(child, tokenizer, [*ids, id])
