"""How many tiles a picture may become where they are capped: what it becomes itself is compared where it is made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_trt.splitting import ByEdge, ByRatio, Split

SIDES = st.one_of(st.integers(1, 3000), st.integers(1, 40))
RATIO = ByRatio(tile=56, patch=14, merge=2, least=2, most=12)
EDGE = ByEdge(tile=45, patch=9, merge=1, longest=180, split=True)


@given(height=SIDES, width=SIDES, tokens=st.integers(1, 400))
@pytest.mark.parametrize("split", [RATIO, EDGE], ids=["ratio", "edge"])
def test_no_picture_has_more_tokens_than_it_is_capped_to(
    split: ByRatio | ByEdge, height: int, width: int, tokens: int
) -> None:
    capped = split.capped(tokens)
    assert capped.count(height, width) <= max(tokens, capped.tokens)
    assert capped.token_range[0] <= capped.count(height, width) <= capped.token_range[2]


@pytest.mark.parametrize("split", [RATIO, EDGE], ids=["ratio", "edge"])
def test_what_has_no_more_stays(split: Split) -> None:
    assert split.capped(None) is split.capped(split.token_range[2]) is split


def test_a_cap_takes_as_many_tiles_as_it_holds() -> None:
    assert RATIO.capped(51).token_range[2] == 48
    assert RATIO.capped(11).token_range == (4, 4, 4)
    assert ByEdge(tile=56, patch=14, merge=2, longest=224, split=True).capped(40).longest == 168
    assert EDGE.capped(25 * 10).longest == 134
