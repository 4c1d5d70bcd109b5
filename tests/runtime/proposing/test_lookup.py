"""What follows the latest place where the end of a text stood before."""

from __future__ import annotations

import numpy as np
import pytest

from clasp_trt.runtime.proposing.lookup import Lookup, copied


def plainly(text: list[int], most: int) -> list[int]:
    """The same the slow way: the longest end of at most three tokens, its latest place, token by token."""
    for size in (3, 2, 1):
        end = text[-size:]
        if len(text) <= size or -1 in end:
            continue
        for start in range(len(text) - size - 1, -1, -1):
            if text[start : start + size] == end:
                found, at = list(text), start + size
                for place in range(at, at + (most if size > 1 else 1)):
                    if found[place] == -1:
                        break
                    found.append(found[place])
                return found[len(text) :]
    return []


@pytest.mark.parametrize("kinds", [2, 3, 6, 30])
def test_it_is_what_a_plain_search_finds(kinds: int) -> None:
    rng = np.random.default_rng(kinds)
    for _ in range(300):
        text = rng.integers(-1, kinds, rng.integers(1, 30)).tolist()
        most = int(rng.integers(1, 8))
        assert copied(np.array(text), most) == plainly(text, most)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ([7, 8, 9, 4, 7, 8], [9, 4, 7]),
        ([7, 8, 1, 7, 8, 2, 7, 8], [2, 7, 8]),  # the latest
        ([5, 7, 8, 1, 6, 8, 2, 5, 7, 8], [1, 6, 8]),  # the longest before the latest
        ([3, 3, 3], [3, 3, 3]),  # a repetition goes on
        ([8, 9, 5, 8], [9]),  # a single token, and one after it
        ([4, 5, -1, -1, 4, 5], []),  # no picture is copied,
        ([4, 5, 6, -1, 4, 5], [6]),
        ([-1, 4, -1], []),  # nor looked for
        ([1], []),
        ([1, 2, 3], []),
    ],
)
def test_by_hand(text: list[int], expected: list[int]) -> None:
    assert copied(np.array(text), 3) == expected


def test_a_wrong_token_shortens_and_none_lengthens() -> None:
    lookup, repeated = Lookup(np.zeros(20, np.int64), 7), [0]
    lengths = []
    for right in (7, 2, 3, 6, 0, 1, 2):
        lengths.append(len(lookup.propose(repeated, 7)))
        lookup.accepted(right)
    assert lengths == [7, 7, 3, 6, 7, 1, 2]


def test_it_proposes_no_more_than_it_is_asked_for() -> None:
    assert len(Lookup(np.zeros(20, np.int64), 7).propose([0], 2)) == 2
