"""Prompt lookup (Saxena, 2023; ``prompt_lookup_num_tokens`` of transformers): an answer goes on as the text did."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clasp_trt.runtime.proposing.interface import Pace
from clasp_trt.runtime.text.prompt import NO_TEXT

LONGEST = 3
"""Tokens that are looked for at most; where they never stood before, fewer are."""


class Lookup:
    """See :class:`~clasp_trt.runtime.proposing.interface.Proposer`. The last tokens are looked for in ``prompt``, int64
    ``[ids]``, -1 where there is no text, and the answer; what follows their latest place there is copied.

    A copy that reaches the end of the text goes on with itself, as a repetition does.
    """

    def __init__(self, prompt: NDArray[np.int64], most: int) -> None:
        self._prompt, self._pace = prompt, Pace(most)

    def propose(self, ids: Sequence[int], most: int) -> Sequence[int]:
        found = copied(np.concatenate([self._prompt, np.asarray(ids, np.int64)]), self._pace.next(most))
        self._pace.proposed(len(found))
        return found

    def accepted(self, count: int) -> None:
        self._pace.heard(count)


def copied(text: NDArray[np.int64], most: int) -> list[int]:
    """Up to ``most`` ids that follow the latest place where the end of ``text``, int64 ``[ids]``, stood before: its
    last :data:`LONGEST` ids, or the most that stood anywhere. After a single one a single one follows: such places are
    many, and most lead elsewhere."""
    for size in range(min(LONGEST, len(text) - 1), 0, -1):
        end = text[-size:]
        windows = np.lib.stride_tricks.sliding_window_view(text[:-1], size)
        places = np.flatnonzero((windows == end).all(axis=1))
        if len(places) and NO_TEXT not in end:
            source = text[places[-1] + size :]
            ids = [int(source[number % len(source)]) for number in range(most if size > 1 else min(1, most))]
            return ids[: ids.index(NO_TEXT)] if NO_TEXT in ids else ids
    return []
